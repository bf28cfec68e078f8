"""Stage 2's ratios (ToDRE eq. 7) against float64 brute force, and the decisions they lead to."""

from __future__ import annotations

import math

import oracles
import pytest
import tinymodels as tm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.making import context_of
from upstream import CACHE

import todre
from todre.errors import InvalidValueError
from todre.tensors.attention import AttentionInputs
from todre.tensors.columns import PAD, SYSTEM, TEXT, VISUAL


def brute_force(query, key, scaling, kinds, asking, asked, admissible, last=False):
    """Eq. 7 from the whole attention map, in float64, one row at a time; `last` counts the last query alone."""
    rows, heads, queries, _ = query.shape
    slots = key.shape[2]
    repeats = heads // key.shape[1]
    results = []
    for row in range(rows):
        above = below = 0.0
        qualified = 0
        for place in range(queries):
            slot = slots - queries + place
            if kinds[row, slot] != asking:
                continue
            if last and (kinds[row, slot + 1 :] == asking).any():
                continue
            visible = [s for s in range(slot + 1) if kinds[row, s] != PAD]
            targets = [s for s in visible if kinds[row, s] == asked]
            if admissible and not targets:
                continue
            qualified += 1
            for head in range(heads):
                logits = (key[row, head // repeats].double() @ query[row, head, place].double()) * scaling
                weights = torch.softmax(logits[visible], 0)
                total = dict(zip(visible, weights.tolist(), strict=True))
                above += sum(total[s] for s in targets)
                below += sum(total.values())
        results.append(above / below if qualified else math.nan)
    return torch.tensor(results)


@st.composite
def layouts(draw):
    slots = draw(st.integers(2, 14))
    rows = draw(st.integers(1, 3))
    queries = draw(st.integers(1, slots))
    kinds = draw(st.lists(st.sampled_from([PAD, SYSTEM, VISUAL, TEXT]), min_size=rows * slots, max_size=rows * slots))
    return torch.tensor(kinds, dtype=torch.int8).view(rows, slots), queries, draw(st.integers(0, 2**16))


@settings(max_examples=150, deadline=None)
@given(layouts(), st.booleans())
def test_ratios_equal_brute_force(layout, admissible):
    kinds, queries, seed = layout
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(kinds.shape[0], 6, queries, 4, generator=generator) * 2
    key = torch.randn(kinds.shape[0], 2, kinds.shape[1], 4, generator=generator) * 2
    context = context_of(AttentionInputs(query, key, 0.5), kinds, 1, 8)
    for ratio, query_kind, key_kind in ((context.text_to_visual, TEXT, VISUAL), (context.visual_to_text, VISUAL, TEXT)):
        expected = brute_force(query, key, 0.5, kinds, query_kind, key_kind, admissible)
        got = ratio(admissible)
        torch.testing.assert_close(got.double(), expected.double(), atol=1e-6, rtol=0, equal_nan=True)
    expected = brute_force(query, key, 0.5, kinds, TEXT, VISUAL, admissible, last=True)
    got = context.text_to_visual(admissible, last=True)
    torch.testing.assert_close(got.double(), expected.double(), atol=1e-6, rtol=0, equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(layouts(), st.integers(0, 5), st.sampled_from(["text", "last"]))
def test_the_floor_keeps_what_text_attends_to_most(layout, floor, over):
    """Of this forward and of earlier turns; in float64, one row at a time."""
    kinds, queries, seed = layout
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(kinds.shape[0], 6, queries, 4, generator=generator) * 2
    key = torch.randn(kinds.shape[0], 2, kinds.shape[1], 4, generator=generator) * 2
    context = context_of(AttentionInputs(query, key, 0.5), kinds, 1, 8)
    answer = todre.ToDRE(floor=floor, threshold=1.0, ratio_over=over).reduce(context)
    assert answer.keep[kinds != VISUAL].all()
    first = kinds.shape[1] - queries
    for row in range(kinds.shape[0]):
        visual = (kinds[row] == VISUAL).nonzero().flatten().tolist()
        text = [place for place in range(queries) if kinds[row, first + place] == TEXT]
        if not any(kinds[row, : first + place].eq(VISUAL).any() for place in (text[-1:] if over == "last" else text)):
            assert answer.keep[row].all()  # nobody looks, so nothing can fade
            continue
        score = dict.fromkeys(visual, 0.0)
        for place in text[-1:] if over == "last" else text:
            visible = [s for s in range(first + place + 1) if kinds[row, s] != PAD]
            for head in range(6):
                logits = (key[row, head // 3].double() @ query[row, head, place].double()) * 0.5
                for slot, weight in zip(visible, torch.softmax(logits[visible], 0).tolist(), strict=True):
                    if slot in score:
                        score[slot] += weight
        kept = [slot for slot in visual if answer.keep[row, slot]]
        assert kept == sorted(sorted(visual, key=lambda slot: -score[slot])[:floor])
        assert bool(answer.faded[row]) == (len(visual) > floor)


def ratios_of(model, inputs, **fields):
    with todre.prune(model, todre.ToDRE(stages=(2,), layers=(6,), threshold=0.0, **fields)) as report, torch.no_grad():
        model(**inputs, position_ids=tm.positions(inputs["attention_mask"]))
    return report


@torch.no_grad()
def eager_ratios(model, inputs, layer):
    """Both literal ratios from the eager model's own attention map, for a batch of one with one picture."""
    attention = model(**inputs, output_attentions=True).attentions[layer - 1][0].double().mean(0)
    visual = (inputs["input_ids"] == tm.IMAGE)[0]
    first = int(visual.nonzero()[0])
    text = ~visual & (torch.arange(len(visual)) > first)
    return attention[text][:, visual].sum() / attention[text].sum(), attention[visual][:, text].sum() / attention[
        visual
    ].sum()


@pytest.mark.parametrize("kind", ["next-llama", "llava"])
def test_single_picture_has_text_to_visual_attention_alone(kind):
    model = tm.build(kind, "eager")
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    to_visual, to_text = eager_ratios(model, inputs, 6)
    assert to_text == 0.0
    ratios = ratios_of(model, inputs).attention_ratios[0][6]
    assert ratios.text_to_visual == pytest.approx(to_visual.item(), abs=1e-6)
    assert ratios.visual_to_text is None
    assert ratios_of(model, inputs, admissible=False).attention_ratios[0][6].visual_to_text == 0.0


def test_interleaved_pictures_see_the_text_between():
    model = tm.build("next-llama", "eager")
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0], tm.SIZES[1]], 8, seed=4)])
    to_visual, to_text = eager_ratios(model, inputs, 6)
    literal = ratios_of(model, inputs, admissible=False).attention_ratios[0][6]
    assert to_text > 0
    assert literal.text_to_visual == pytest.approx(to_visual.item(), abs=1e-6)
    assert literal.visual_to_text == pytest.approx(to_text.item(), abs=1e-6)
    assert ratios_of(model, inputs).attention_ratios[0][6].visual_to_text > literal.visual_to_text


def test_backends_agree_and_padding_does_not_count():
    inputs = tm.ragged(tm.build())
    eager, sdpa = (ratios_of(tm.build(backend=backend), inputs) for backend in ("eager", "sdpa"))
    assert eager.attention_ratios[2] == {}
    for row in (0, 1):
        assert eager.attention_ratios[row][6].text_to_visual == pytest.approx(
            sdpa.attention_ratios[row][6].text_to_visual, abs=1e-6
        )


@torch.no_grad()
def test_rows_decide_for_themselves_and_the_first_layer_that_passes_decides():
    model = tm.build()
    inputs = tm.ragged(model)
    places = tm.positions(inputs["attention_mask"])
    report = ratios_of(model, inputs)
    values = [report.attention_ratios[row][6].text_to_visual for row in (0, 1)]
    between = sum(values) / 2
    method = todre.ToDRE(stages=(2,), layers=(6, 7, 8), threshold=between)
    with todre.prune(model, method) as report:
        got = model(**inputs, position_ids=places).logits
    for row in (0, 1):
        passing = [layer for layer, ratio in report.attention_ratios[row].items() if ratio.text_to_visual < between]
        expected = passing[0] if passing and passing[0] < 8 else None
        assert report.dropped_after_layer[row] == expected
        assert list(report.attention_ratios[row]) == [
            layer for layer in (6, 7, 8) if expected is None or layer <= expected
        ]
    assert report.dropped_after_layer[0] != report.dropped_after_layer[1]
    visual = inputs["input_ids"] == tm.IMAGE
    with oracles.mask_oracle(model, oracles.from_report(report, visual, 8), inputs["attention_mask"]):
        expected = model(**inputs, position_ids=places).logits
    text = (inputs["attention_mask"] == 1) & ~visual
    torch.testing.assert_close(got[text], expected[text], atol=1e-5, rtol=0)


PICTURES = {
    "one": lambda model: tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1),
    "two": lambda model: tm.sample(model, 4, [tm.SIZES[2], tm.SIZES[4]], 9, seed=2),
}


def estimated(exact, inputs, layer, later):
    """Both ratios of `later` from the states after `layer`, for a batch of one; every query that can see counts."""
    weights = oracles.attention_from_early_states(exact, inputs, layer, later)[0].mean(0)
    visual = (inputs["input_ids"] == tm.IMAGE)[0]
    text = ~visual & (visual.cumsum(0) > 0)
    seeing = visual & (text.cumsum(0) > 0)
    to_text = weights[seeing][:, text].sum(1).mean() if seeing.any() else None
    return weights[text][:, visual].sum(1).mean(), weights[text][-1][visual].sum(), to_text


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["next-llama", "llava"])
def test_a_look_ahead_gives_later_layers_the_present_states(kind, backend):
    """Against the untouched model in float64, whose later layers are given the states of an earlier one."""
    model, exact = tm.build(kind, backend), tm.build(kind, "eager").double()
    samples = [make(model) for make in PICTURES.values()] + [tm.sample(model, 12, [], 5, seed=3)]
    inputs = tm.batch(model, samples)
    reports = []
    for over in ("text", "last"):
        method = todre.ToDRE(stages=(2,), layers=(3,), threshold=1.0, ahead="layers", ratio_over=over)
        with todre.prune(model, method) as report, torch.no_grad():
            model(**inputs, position_ids=tm.positions(inputs["attention_mask"]))
        reports.append(report)
    assert [sorted(row) for row in reports[0].ratios_ahead] == [[3], [3], []]
    for row in (0, 1):
        alone = tm.batch(model, [samples[row]])
        alone["pixel_values"] = alone["pixel_values"].double()
        assert list(reports[0].ratios_ahead[row][3]) == [4, 5, 6, 7, 8]
        for later in (4, 6, 8):
            to_visual, last, to_text = estimated(exact, alone, 3, later)
            mine, of_last = (report.ratios_ahead[row][3][later] for report in reports)
            assert mine.text_to_visual == pytest.approx(to_visual.item(), abs=1e-6)
            assert of_last.text_to_visual == pytest.approx(last.item(), abs=1e-6)
            assert (mine.visual_to_text is None) == (to_text is None) == (row == 0)
            if to_text is not None:
                assert mine.visual_to_text == pytest.approx(to_text.item(), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("ahead", ["no", "candidates", "layers"])
def test_tokens_stay_where_a_later_layer_is_expected_to_look(ahead):
    """Decisions of a batch, row by row, from estimates that the untouched model in float64 gives."""
    model, exact = tm.build(), tm.build(backend="eager").double()
    samples = [tm.sample(model, 4 + seed, [tm.SIZES[seed % 5]], 5 + seed, seed=seed) for seed in range(5)]
    inputs = tm.batch(model, samples)
    looked = {"no": [], "candidates": [5, 7], "layers": [4, 5, 6, 7, 8]}[ahead]
    here, later = [], []
    for one in samples:
        alone = tm.batch(model, [one])
        alone["pixel_values"] = alone["pixel_values"].double()
        here.append(estimated(exact, alone, 2, 3)[0].item())  # layer 3 on the states before it: the ratio itself
        later.append(max([estimated(exact, alone, 3, each)[0].item() for each in looked], default=0.0))
    both = sorted(max(pair) for pair in zip(here, later, strict=True))
    threshold = (both[1] + both[2]) / 2
    assert min(abs(value - threshold) for value in (*here, *later)) > 1e-5
    method = todre.ToDRE(stages=(2,), layers=(3, 5, 7), threshold=threshold, ahead=ahead)
    with todre.prune(model, method) as report:
        model(**inputs, position_ids=tm.positions(inputs["attention_mask"]))
    fired = [layer == 3 for layer in report.faded_after_layer]
    assert fired == [max(pair) < threshold for pair in zip(here, later, strict=True)]
    assert any(fired)
    assert not all(fired)
    for row in range(len(samples)):
        assert set(report.ratios_ahead[row].get(3, {})) == set(looked)
        assert report.dropped_after_layer[row] == report.faded_after_layer[row]


@torch.no_grad()
def test_a_look_ahead_in_a_later_turn_sees_the_keys_that_each_layer_holds():
    """The first turn's picture is gone from later layers' caches; the other keys there are what these layers made."""
    model, exact = tm.build(), tm.build(backend="eager").double()
    first = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    second = tm.batch(model, [tm.sample(model, 3, [tm.SIZES[2]], 5, seed=7)])
    method = todre.ToDRE(stages=(2,), layers=(3,), threshold=1.0, ahead="layers")
    with todre.prune(model, method) as report:
        cache = model(**first, use_cache=True)[CACHE]
        model(**(second | {"attention_mask": None}), **{CACHE: cache})
    whole = {"input_ids": torch.cat([first["input_ids"], second["input_ids"]], dim=1)}
    tiles = [one["pixel_values"].double() for one in (first, second)]
    most = max(one.shape[1] for one in tiles)
    whole["pixel_values"] = torch.cat(
        [torch.cat([one, one.new_zeros(1, most - one.shape[1], *one.shape[2:])], dim=1) for one in tiles]
    )
    whole["image_sizes"] = torch.cat([first["image_sizes"], second["image_sizes"]])
    start, visual = first["input_ids"].shape[1], (whole["input_ids"] == tm.IMAGE)[0]
    gone = torch.zeros(1, 8, len(visual), dtype=torch.bool)
    gone[0, 3:, :start] = visual[:start]
    now = visual.clone()
    now[:start] = False
    text = ~visual & (torch.arange(len(visual)) >= start)
    for later in (4, 6, 8):
        with oracles.mask_oracle(exact, gone):
            weights = oracles.attention_from_early_states(exact, whole, 3, later, since=start)[0].mean(0)
        seeing = weights[text & (torch.arange(len(visual)) > int(now.nonzero()[0]))]
        assert report.ratios_ahead[0][3][later].text_to_visual == pytest.approx(
            seeing[:, now].sum(1).mean().item(), abs=1e-6
        )


@torch.no_grad()
@pytest.mark.parametrize(
    ("fields", "n", "early"),
    [
        ({"layers": (3, 7), "threshold": 1.0}, 3, True),
        ({"layers": (6,), "threshold": 1.0, "floor": 2}, 6, True),
        ({"layers": (7,), "threshold": 1.0}, 7, False),
        ({"layers": (3, 7), "threshold": 1.0, "horizon": 3}, 3, False),
        ({"layers": (3, 7), "threshold": 1.0, "horizon": 4}, 7, False),
        ({"layers": (3, 7), "threshold": 1.0, "floor": 10**6}, None, False),
        ({"layers": (3, 7), "threshold": 0.0}, None, False),
        ({"layers": (8,), "threshold": 1.0}, None, False),
    ],
)
def test_the_report_warns_where_stage_2_fired_early(fields, n, early):
    model = tm.build()
    inputs = tm.ragged(model)
    with todre.prune(model, todre.ToDRE(stages=(2,), **fields)) as report:
        model(**inputs, position_ids=tm.positions(inputs["attention_mask"]))
    assert report.faded_after_layer == [n, n, None]
    assert report.faded_early == [early, early, False]
    left = fields.get("floor", 0)
    assert [row[-1] for row in report.visual_tokens_per_layer][:2] == [
        count if n is None else min(count, left) for count in report.visual_tokens_before[:2]
    ]
    assert len(report.notes) == int(early)
    if early:
        assert f"after layer {n} of 8 in rows 0, 1" in report.notes[0]
        assert report.notes[0] in str(report)
    assert report.to_dict()["faded_after_layer"] == [n, n, None]


def test_a_picture_at_the_very_end_is_not_dropped():
    model = tm.build()
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 0, seed=4)])
    with todre.prune(model, todre.ToDRE(stages=(2,), threshold=1.0)) as report, torch.no_grad():
        model(**inputs)
    assert report.dropped_after_layer == [None]
    assert report.attention_ratios[0][7] == (None, None)


@pytest.mark.parametrize(
    ("layers", "n_layers", "expected"),
    [
        ((7 / 8,), 32, (28,)),
        ((7 / 8,), 8, (7,)),
        ((7 / 8,), 28, (24,)),
        ((1 / 2, 5 / 8, 6 / 8, 7 / 8), 32, (16, 20, 24, 28)),
        ((1 / 2, 5 / 8, 6 / 8, 7 / 8), 40, (20, 25, 30, 35)),
        ((0.29,), 100, (29,)),
        ((28, 3), 32, (3, 28)),
        ((1.0,), 12, (12,)),
        ((1,), 12, (1,)),
    ],
)
def test_layers_are_counts_or_fractions_rounded_down(layers, n_layers, expected):
    assert todre.ToDRE(layers=layers).reduce_after(n_layers) == expected


@pytest.mark.parametrize(
    ("horizon", "n_layers", "expected"),
    [(0.8, 30, (26,)), (24, 30, (26,)), (22, 30, (22, 26)), (27, 30, (27,)), (1, 30, (15, 18, 22, 26)), (1.0, 4, (4,))],
)
def test_candidates_before_the_horizon_are_left_out(horizon, n_layers, expected):
    assert todre.ToDRE.v1(horizon=horizon).reduce_after(n_layers) == expected
    assert todre.ToDRE.v1(horizon=horizon, stages=(1,)).reduce_after(n_layers) == ()


def test_a_horizon_beyond_the_decoder_is_refused():
    with pytest.raises(InvalidValueError, match="horizon=31 is layer 31 of a decoder that has 30"):
        todre.ToDRE(horizon=31).reduce_after(30)


@torch.no_grad()
def test_no_attention_map_is_made():
    """The largest tensor that stage 2 makes is a block of text rows, not queries by keys."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor):
                    Largest.size = max(Largest.size, tensor.numel())
            return out

    slots, text = 3000, 20
    kinds = torch.full((1, slots), VISUAL, dtype=torch.int8)
    kinds[:, :5], kinds[:, -text:] = SYSTEM, TEXT
    query, key = torch.randn(1, 4, slots, 8), torch.randn(1, 2, slots, 8)
    context = context_of(AttentionInputs(query, key, 0.3), kinds, 1, 8)
    with Largest():
        context.text_to_visual(), context.visual_to_text()
    assert Largest.size <= 4 * slots * text
