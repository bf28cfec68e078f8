"""Methods that rank once, after one layer or a few, against attention in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.fastv import FastV
from todre.methods.nuwa_text import NuwaText
from todre.methods.pyramiddrop import PyramidDrop
from todre.methods.random_deep import RandomDeep
from todre.methods.vtw import VTW

CASES = [(None, 1.0), (9, 1.0), (None, 4.0), (None, 0.0)]  # columns in flight, scale of the logits


def expected_count(retain, entered):
    return min(entered, retain) if isinstance(retain, int) else min(entered, max(1, round(retain * entered)))


def fastv_scores(context, row):
    return decoder_layers.attention(
        context.attention_inputs, context.kinds, row, decoder_layers.last_of(context, row)
    ).mean(0)


def peeked_scores(context, row):
    queries = context.hidden.shape[1]
    got = decoder_layers.attention(
        context.peek(), context.kinds[:, -queries:], row, decoder_layers.last_of(context, row)
    ).mean(0)
    return np.concatenate([np.zeros(context.kinds.shape[1] - queries), got])


def nuwa_scores(context, row):
    hidden = context.hidden[row].double().numpy()
    text = decoder_layers.text_of(context, row) or [decoder_layers.last_of(context, row)]
    mean = sum(hidden[place] for place in text) / len(text)
    start = context.kinds.shape[1] - len(hidden)
    return {
        slot: hidden[slot - start] @ mean / np.linalg.norm(hidden[slot - start]) / np.linalg.norm(mean)
        for slot in decoder_layers.fresh_of(context, row)
    }


RULES = [(FastV, fastv_scores), (NuwaText, nuwa_scores)]


@pytest.mark.parametrize(("method", "scores"), RULES)
@pytest.mark.parametrize(("queries", "scale"), CASES)
@pytest.mark.parametrize("retain", [1, 3, 0.5, 1.0])
def test_one_ranking(method, scores, queries, scale, retain):
    context = decoder_layers.made(queries=queries, scale=scale, seed=7)
    reduction = method(retain=retain).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        count = expected_count(retain, len(slots)) if slots else 0
        assert decoder_layers.kept(context, reduction, row) == decoder_layers.top(slots, scores(context, row), count)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(3, 12))
def test_fastv_on_random_layouts(seed, retain, queries):
    generator = np.random.default_rng(seed)
    rows = ["".join(generator.choice(list(".svt"), 12)) for _ in range(3)]
    context = decoder_layers.made(rows, queries=queries, seed=seed)
    reduction = FastV(retain=retain).reduce(context)
    for row in range(3):
        slots = decoder_layers.fresh_of(context, row)
        if slots:
            want = decoder_layers.top(slots, fastv_scores(context, row), retain)
            assert decoder_layers.kept(context, reduction, row) == want


@pytest.mark.parametrize("method", [FastV, NuwaText, RandomDeep, PyramidDrop, VTW])
def test_a_row_of_a_batch_is_what_it_is_alone(method):
    context = decoder_layers.made(queries=11, seed=3)
    reduction = method().reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        if decoder_layers.fresh_of(context, row):
            assert torch.equal(method().reduce(decoder_layers.alone(context, row)).keep[0], reduction.keep[row])


@pytest.mark.parametrize("layer", [2, 4, 6])
@pytest.mark.parametrize(("queries", "scale"), CASES)
def test_pyramiddrop_ranks_by_what_the_next_layer_would_see(layer, queries, scale):
    context = decoder_layers.made(
        queries=queries, scale=scale, layer=layer, seed=5, entered=[16] * len(decoder_layers.ROWS)
    )
    reduction = PyramidDrop().reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        count = 16 // 2 ** (layer // 2)
        want = decoder_layers.top(slots, peeked_scores(context, row), count) if slots else []
        assert decoder_layers.kept(context, reduction, row) == want


def test_pyramiddrop_never_asks_after_the_last_layer():
    assert PyramidDrop().reduce_after(32) == (8, 16, 24)
    assert PyramidDrop(layers=(1.0, 2)).reduce_after(8) == (2,)
    assert PyramidDrop().reduce_after(1) == ()


@pytest.mark.parametrize("method", [FastV, RandomDeep, NuwaText])
def test_a_layer_average_counts_the_layers_before(method):
    context = decoder_layers.made(["s" + "v" * 10 + "tt"], layer=2, n_layers=8)
    reduction = method(retain=5, counting="layer-average").reduce(context)
    assert len(decoder_layers.kept(context, reduction, 0)) == (5 * 8 - 10 * 2) // 6
    with pytest.raises(InvalidValueError, match="cannot be met"):
        method(retain=2, counting="layer-average").reduce(context)


def test_fractions_are_of_what_entered_not_of_what_is_left():
    context = decoder_layers.made(["s" + "v" * 10 + "tt"], entered=[20])
    for method in (FastV, RandomDeep, NuwaText):
        assert len(decoder_layers.kept(context, method(retain=0.25).reduce(context), 0)) == 5


def test_random_deep_draws_by_the_seed_from_each_row():
    context = decoder_layers.made(["s" + "v" * 11 + "t", "ss" + "v" * 10 + "t"])
    drawn = {
        tuple(decoder_layers.kept(context, RandomDeep(retain=3, seed=seed).reduce(context), 0)) for seed in range(20)
    }
    assert len(drawn) > 10
    assert all(len(set(slots)) == 3 for slots in drawn)
    first, second = (decoder_layers.kept(context, RandomDeep(retain=3, seed=1).reduce(context), row) for row in (0, 1))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))[:3]
    assert second == sorted(2 + int(place) for place in order)
    assert len(first) == 3


def test_random_deep_is_uniform():
    context = decoder_layers.made(["svvvvvt"])
    counts = np.zeros(7)
    for seed in range(2000):
        counts[decoder_layers.kept(context, RandomDeep(retain=2, seed=seed).reduce(context), 0)] += 1
    assert np.abs(counts[1:6] / 2000 - 0.4).max() < 0.05


def test_vtw_drops_all_where_text_follows():
    context = decoder_layers.made(["svvvvtt", "sssvvvv", "vvtvv..", "sssssss"], queries=5)
    keep = VTW().reduce(context).keep
    assert keep.tolist() == [
        [letter != "v" or row == 1 for letter in text]
        for row, text in enumerate(["svvvvtt", "sssvvvv", "vvtvv..", "sssssss"])
    ]
    assert VTW().reduce_after(32) == (15,)
    assert VTW(layer=16).reduce_after(32) == (16,)


@pytest.mark.parametrize("method", [FastV, RandomDeep, PyramidDrop, NuwaText])
def test_bad_values_and_round_trips(method):
    assert method.from_dict(method().to_dict()) == method()
    for field, value, match in [("retain", 0, "tokens from 1, .* not 0"), ("counting", "mean", "not 'mean'")]:
        with pytest.raises(InvalidValueError, match=match):
            method(**{field: value})
    layers = {"layers": (0,)} if method is PyramidDrop else {"layer": 0}
    with pytest.raises(InvalidValueError, match=r"a fraction of the depth in \(0, 1\] .* not 0"):
        method(**layers)
