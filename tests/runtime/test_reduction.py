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

import todre
from todre.tensors.attention import AttentionInputs
from todre.tensors.columns import PAD, SYSTEM, TEXT, VISUAL


def brute_force(query, key, scaling, kinds, asking, asked, admissible):
    """Eq. 7 from the whole attention map, in float64, one row at a time."""
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
