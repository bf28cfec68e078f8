"""The papers' conventions against the figures the papers print."""

import pytest

from todre.errors import InvalidValueError
from todre.flops import CONVENTIONS, PRESETS, ModelShape, Stack, convention, count

TERA = 1e12


@pytest.mark.parametrize(("tokens", "printed"), [(2880, 41.7), (2160, 30.4), (1440, 19.7), (720, 9.6), (288, 3.8)])
def test_globalcom2_7b_is_llm_viewer(tokens, printed):
    assert round(convention("llm-viewer", "llava-next-7b", tokens) / TERA, 1) == printed


@pytest.mark.parametrize(("tokens", "printed"), [(2880, 80.0), (2160, 58.7), (1440, 38.3), (720, 18.7), (288, 7.4)])
def test_globalcom2_13b_is_llm_viewer_within_two_per_mille(tokens, printed):
    """The printed 13B row lies up to 0.15 % above the formula (80.0 for 79.88)."""
    assert convention("llm-viewer", "llava-next-13b", tokens) / TERA == pytest.approx(printed, rel=2e-3, abs=0.05)


def test_profiler_gives_the_table_of_todre():
    """31.4 T unpruned at POPE's mean of 2250 visual tokens and 15 of text, 6.0 T with 288 kept; -81 %."""
    before = convention("profiler", "llava-next-7b", 2250, text_tokens=15) / TERA
    after = convention("profiler", "llava-next-7b", 288, text_tokens=15) / TERA
    assert round(before, 2) == 31.36
    assert round(after, 2) == 5.95
    assert round(before, 1) == 31.4
    assert round(after, 1) == 6.0
    assert round(100 * (1 - after / before)) == 81


def test_ratios_of_todre_equations_1_and_2():
    """Printed encoder : prefill : decode, 1 : 63.6 : 0.4 (7B) and 1 : 121.1 : 0.8 (13B), at n = 3000 and L = 20."""
    encoders = []
    for model, prefill, decode in (("llava-next-7b", 63.6, 0.4), ("llava-next-13b", 121.1, 0.8)):
        first = convention("todre-eq1", model, 3000)
        then = convention("todre-eq2", model, 3000, new_tokens=20)
        assert round(then / first * prefill, 1) == decode
        encoders.append(first / prefill)
    assert encoders[0] == pytest.approx(encoders[1], rel=0.05 / 63.6)


def test_equation_1_at_the_papers_budgets():
    rounded = [round(convention("todre-eq1", "llava-next-7b", n) / TERA, 2) for n in (2880, 288)]
    assert rounded == [16.67, 1.47]
    assert round(convention("todre-eq1", "llava-next-13b", 2880) / TERA, 2) == 31.78


def test_formulas_by_hand():
    """d = 2, m = 3, one KV head of two, T = 2 layers of 5 and 7 tokens."""
    shape = ModelShape("tiny", Stack(2, 2, 2, 1, 1, 3, gated=True), vocabulary=4)
    pair = lambda f: f(5) + f(7)  # noqa: E731
    assert convention("todre-eq1", shape, [5, 7]) == pair(lambda n: 16 * n + 4 * n * n + 12 * n)
    assert convention("sparsevlm", shape, [5, 7]) == pair(lambda n: 16 * n + 4 * n * n + 18 * n)
    assert convention("llm-viewer", shape, [5, 7]) == 2 * convention("sparsevlm", shape, [5, 7])
    assert convention("glimpse", shape, [5, 7]) == pair(lambda n: 2 * n * (8 + 4) + 8 * n * n + 36 * n)
    assert convention("todre-eq2", shape, [5, 7], new_tokens=3) == pair(lambda n: 48 + 36 + 6 * (2 * n + 2))
    assert convention("profiler", shape, [5, 7], tiles=0) == pair(lambda n: 2 * n * (8 + 4 + 18))
    assert convention("todre-eq1", shape, [4, 6], text_tokens=1) == convention("todre-eq1", shape, [5, 7])


def test_equation_2_is_one_token_after_another():
    one_by_one = sum(convention("todre-eq2", "llava-1.5-7b", 600 + step, new_tokens=1) for step in range(20))
    assert convention("todre-eq2", "llava-1.5-7b", 600, new_tokens=20) == one_by_one


@pytest.mark.parametrize("model", PRESETS)
def test_glimpse_and_llm_viewer_meet_the_true_prefill_where_they_should(model):
    true = count(model, text_tokens=20, visual_tokens=500, tiles=0).prefill
    assert convention("glimpse", model, 500, text_tokens=20) == true.linear + true.attention
    grouped = PRESETS[model].decoder.kv_heads < PRESETS[model].decoder.heads
    assert (convention("llm-viewer", model, 520) > true.linear + true.attention) == grouped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "eq1"}, r"no FLOP convention is named 'eq1'; choose one of todre-eq1, todre-eq2"),
        ({"name": "todre-eq2"}, r"new_tokens is None; give a whole number"),
        ({"name": "todre-eq2", "new_tokens": -1}, r"new_tokens is -1"),
        ({"name": "todre-eq1", "n": -3}, r"n must hold whole numbers of at least 0, got -3"),
        ({"name": "todre-eq1", "n": [3]}, r"n holds 1 numbers, but llava-1\.5-7b has 32"),
        ({"name": "todre-eq1", "text_tokens": -1}, r"text_tokens"),
        ({"name": "profiler", "tiles": -1}, r"tiles"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        convention(**{"model": "llava-1.5-7b", "n": 10, **arguments})


def test_every_convention_answers():
    for name in CONVENTIONS:
        assert convention(name, "llava-next-7b", 100, new_tokens=5) > 0
