"""AutoPrune: information and ranks in float64, curves by a search of their own."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import tinymodels as tm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers

import todre
from todre.errors import InvalidValueError
from todre.methods.autoprune import AutoPrune
from todre.tensors.attention import attention_information
from todre.tensors.columns import PAD
from todre.tensors.token_facts import Signal

CASES = [(None, 1.0), (9, 1.0), (None, 4.0), (None, 0.0)]  # columns in flight, scale of the logits
REQUEST = Signal("auto", -2)


def asked_of(context, row):
    return decoder_layers.text_of(context, row) or [decoder_layers.last_of(context, row)]


def blocks_of(context, row):
    """(heads, text rows, slots) float64 attention."""
    inputs, kinds = context.attention_inputs, context.kinds
    rows = [decoder_layers.attention(inputs, kinds, row, place) for place in asked_of(context, row)]
    return np.stack(rows, axis=1)


def information(context, row):
    """Σ p(x, y) log2(p(x, y) / (p(x) p(y))), summed over heads and brought to 32 of them."""
    total, heads = 0.0, blocks_of(context, row)
    for head in heads:
        joint = head[:, decoder_layers.fresh_of(context, row)] / len(head)
        for line in joint:
            for y, p in enumerate(line):
                total += p * math.log2(p / (joint[:, y].sum() / len(head))) if p > 0 else 0.0
    return total * 32 / len(heads)


def curve(retain, entered, n_layers, mi, early=2.5):
    """Shares that layers see, by a search of the common factor, where no number is rounded."""
    first = min(entered, early * retain, (retain * n_layers - entered) / 2)
    k = max(0.0, 0.4 - 0.2 * mi)
    falls = [0.75 / (1 + math.exp(k * (i * 32 / n_layers - 14.9 - k))) for i in range(1, n_layers - 1)]
    low, high = 0.0, 1e12
    for _ in range(300):
        factor = (low + high) / 2
        seen = [entered, first, *(min(first, factor * fall) for fall in falls)]
        low, high = (factor, high) if sum(seen) <= retain * n_layers else (low, factor)
    return seen


@pytest.mark.parametrize(("queries", "scale"), CASES)
def test_information_is_that_of_each_head(queries, scale):
    context = decoder_layers.made(queries=queries, scale=scale, seed=4)
    asked = torch.zeros(context.hidden.shape[:2], dtype=torch.bool)
    for row in range(len(asked)):
        asked[row, asked_of(context, row)] = True
    for places in (None, torch.arange(asked.shape[1])):
        got = attention_information(context.attention_inputs, asked, context.fresh, context.kinds != PAD, places)
        want = [information(context, row) / 32 for row in range(len(asked))]
        torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float32), atol=1e-6, rtol=1e-5)
        assert got.dtype == torch.float32


def test_information_of_many_rows_of_one_row_and_of_none():
    context = decoder_layers.made(["s" + "v" * 40 + "t" * 300], seed=1, scale=2.0)
    inputs, allowed = context.attention_inputs, context.kinds != PAD
    got = attention_information(inputs, context.text_rows, context.fresh, allowed)
    torch.testing.assert_close(got.item(), information(context, 0) / 32, atol=1e-6, rtol=1e-4)
    assert attention_information(inputs, context.last_row, context.fresh, allowed).tolist() == [0.0]
    for rows, keys in ((context.text_rows & False, context.fresh), (context.text_rows, context.fresh & False)):
        assert attention_information(inputs, rows, keys, allowed).tolist() == [0.0]
    half = dataclasses.replace(inputs, query=inputs.query.half(), key=inputs.key.half())
    wide = dataclasses.replace(half, query=half.query.float(), key=half.key.float())
    one, other = (attention_information(each, context.text_rows, context.fresh, allowed) for each in (half, wide))
    assert torch.equal(one, other)


def test_heads_are_not_pooled_before():
    context = decoder_layers.made(["s" + "v" * 8 + "tttt"], scale=3.0)
    pooled = blocks_of(context, 0).mean(axis=0)[:, 1:9] / 4
    together = 32 * (pooled * np.log2(pooled / (pooled.sum(axis=0) / 4))).sum()
    assert information(context, 0) > 1.2 * together


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(1, 600), st.floats(0.01, 1.0), st.floats(0.0, 4.0))
def test_it_meets_its_mean(n_layers, entered, retain, mi):
    method = AutoPrune(retain=retain)
    wanted = max(1, round(retain * entered))
    if wanted < entered and wanted * n_layers < entered:
        with pytest.raises(InvalidValueError, match="cannot be met"):
            method.counts(entered, n_layers, mi)
        return
    counts = method.counts(entered, n_layers, mi)
    assert len(counts) == n_layers
    assert counts[0] == entered
    assert list(counts) == sorted(counts, reverse=True)
    assert max(counts[1:]) <= math.floor(2.5 * wanted) or wanted == entered
    assert wanted - 1 < sum(counts) / n_layers <= wanted + 1e-3


@pytest.mark.parametrize("n_layers", [4, 8, 28, 32, 40])
@pytest.mark.parametrize("mi", [0.0, 0.5, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_counts_follow_the_curve(n_layers, mi, share):
    entered = 10**6
    counts = AutoPrune(retain=share).counts(entered, n_layers, mi)
    np.testing.assert_allclose(counts, curve(share * entered, entered, n_layers, mi), atol=1.5)


def test_information_makes_the_curve_flat_and_no_flatter():
    method = AutoPrune(retain=192)
    assert method.counts(576, 32, 0.0)[-1] < method.counts(576, 32, 1.0)[-1] < method.counts(576, 32, 2.0)[-1]
    assert method.counts(576, 32, 2.0) == method.counts(576, 32, 9.0) == (576, 480) + (169,) * 30
    assert method.counts(576, 32, 0.0)[1] == 480
    assert AutoPrune(retain=64).counts(576, 32, 0.5)[1] == 160


def test_a_deeper_decoder_has_the_same_curve_stretched():
    once, twice = (AutoPrune(retain=0.3).counts(10**6, depth, 0.7) for depth in (32, 64))
    few, many = np.array(once[2:]), np.array(twice[3:63:2])  # after layers 1 … 30 of 32, and 2 … 60 of 64
    np.testing.assert_allclose(few / few[-1], many / many[-1], rtol=2e-3)


def test_shallow_decoders_and_budgets_of_everything():
    assert AutoPrune(retain=1.0).counts(100, 8, 0.0) == (100,) * 8
    assert AutoPrune(retain=500).counts(100, 8, 0.0) == (100,) * 8
    assert AutoPrune(retain=0.5).counts(100, 1, 0.0) == (100,)
    assert AutoPrune(retain=0.75).counts(100, 2, 0.0) == (100, 50)
    assert AutoPrune(retain=0.5).counts(100, 2, 0.0) == (100, 0)
    assert AutoPrune(retain=0.5).counts(90, 3, 0.0) == (90, 22, 22)
    assert AutoPrune().counts(0, 8, 0.0) == (0,) * 8
    assert AutoPrune().reduce_after(4) == (1, 2, 3)
    assert AutoPrune().reduce_after(1) == ()


@pytest.mark.parametrize(("queries", "scale"), CASES)
@pytest.mark.parametrize("known", [True, False])
def test_the_first_cut(queries, scale, known):
    context = decoder_layers.made(queries=queries, scale=scale, seed=6, layer=1)
    towers = torch.rand(context.hidden.shape[:2], generator=torch.Generator().manual_seed(5)) / 50
    towers[:, 5] = torch.nan  # as at a newline token
    towers[2] = torch.nan  # nothing is known of this row
    context = dataclasses.replace(context, signal_maps={REQUEST: towers} if known else {})
    method = AutoPrune(retain=0.2, text_weight=40.0)
    reduction = method.reduce(context)
    start = context.kinds.shape[1] - context.hidden.shape[1]
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        text = blocks_of(context, row).mean(axis=(0, 1))
        scores = 40.0 * information(context, row) / len(asked_of(context, row)) * text
        if known and row != 2:
            tower = np.nan_to_num(towers[row].double().numpy())
            scores = {slot: tower[slot - start] + scores[slot] for slot in slots}
        else:
            scores = text
        if scale == 0.0 and not (known and row != 2):
            continue  # all the same but for rounding
        count = method.counts(len(slots), 8, 0.0)[1]
        assert decoder_layers.kept(context, reduction, row) == decoder_layers.top(slots, scores, count)
    assert reduction.memo is None
    assert reduction.left[0] < 8


@pytest.mark.parametrize(("queries", "scale"), CASES)
def test_later_layers_rank_by_all_text(queries, scale):
    method, tables = AutoPrune(retain=0.6), None
    for layer in (2, 3, 5):
        context = decoder_layers.made(queries=queries, scale=scale, seed=8 + layer, layer=layer)
        reduction = method.reduce(dataclasses.replace(context, memo=tables))
        if tables is None:
            tables = reduction.memo
            for row, table in enumerate(tables):
                entered = len(decoder_layers.fresh_of(context, row))
                assert table == method.counts(entered, 8, information(context, row))
        assert reduction.memo is tables
        for row in range(len(decoder_layers.ROWS)):
            slots = decoder_layers.fresh_of(context, row)
            want = decoder_layers.top(slots, blocks_of(context, row).mean(axis=(0, 1)), tables[row][layer])
            assert decoder_layers.kept(context, reduction, row) == want


@pytest.mark.parametrize("layer", [1, 2])
def test_a_row_of_a_batch_is_what_it_is_alone(layer):
    context = decoder_layers.made(queries=11, seed=3, layer=layer)
    reduction = AutoPrune().reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        if decoder_layers.fresh_of(context, row):
            single = AutoPrune().reduce(decoder_layers.alone(context, row))
            assert single.keep[0].tolist() == reduction.keep[row].tolist()
            assert (single.memo or [None])[0] == (reduction.memo or [None] * 9)[row]


def test_each_sample_of_a_model_has_its_own_curve():
    model = tm.build(layers=8)
    samples = [tm.sample(model, 4, [tm.SIZES[0]], after, seed=after) for after in (1, 9)]
    method = AutoPrune(retain=0.4, response=200.0, slope=1.0)
    with todre.prune(model, method) as report:
        model(**tm.batch(model, samples))
        together = report.visual_tokens_per_layer
        for sample, counts in zip(samples, together, strict=True):
            model(**tm.batch(model, [sample]))
            assert report.visual_tokens_per_layer == [counts]
    steep, flat = together
    assert steep[:2] == flat[:2]
    assert list(steep) == list(method.counts(steep[0], 8, 0.0))  # one text token tells nothing apart
    assert flat[-1] > steep[-1]


def test_fields():
    made = AutoPrune(retain=64, response=0.0)
    assert AutoPrune.from_dict(made.to_dict()) == made
    with pytest.raises(InvalidValueError, match="early must be a number above 0, not 0"):
        AutoPrune(early=0)
    with pytest.raises(InvalidValueError, match="response must be a number of at least 0, not -1"):
        AutoPrune(response=-1)
