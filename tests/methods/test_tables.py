"""FitPrune, G-Search and P-Sigmoid: numbers per layer, and ranks in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.fitprune import FitPrune
from todre.methods.gsearch import GSearch
from todre.methods.psigmoid import PSigmoid

CASES = [(None, 1.0), (9, 1.0), (None, 3.0), (None, 0.0)]


def summed(context, row, places, pool):
    rows = [
        pool(decoder_layers.attention(context.attention_inputs, context.kinds, row, place), axis=0) for place in places
    ]
    return sum(rows, np.zeros(context.kinds.shape[1]))


def fit_scores(context, row):
    start = context.kinds.shape[1] - context.hidden.shape[1]
    asked = decoder_layers.text_of(context, row) or [decoder_layers.last_of(context, row)]
    own = [slot - start for slot in decoder_layers.fresh_of(context, row)]
    return summed(context, row, asked, np.max) * summed(context, row, own, np.max)


@pytest.mark.parametrize(("queries", "scale"), CASES)
@pytest.mark.parametrize(("deletions", "gone"), [((1, 2, 1) + (0,) * 5, 4), ((0.1, 0.15) + (0.0,) * 6, None)])
def test_fitprune_deletes_the_smallest_products(queries, scale, deletions, gone):
    context = decoder_layers.made(queries=queries, scale=scale, seed=3, layer=3)
    reduction = FitPrune(deletions=deletions).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        left = len(slots) - (gone if gone is not None else round(0.25 * len(slots)))
        assert decoder_layers.kept(context, reduction, row) == decoder_layers.top(slots, fit_scores(context, row), left)


def test_fitprune_asks_where_something_goes():
    method = FitPrune(deletions=(0, 3, 0, 2, 0, 0, 0, 5))
    assert method.reduce_after(8) == (2, 4)
    context = decoder_layers.made(["s" + "v" * 10 + "t"], layer=4, entered=[12])
    assert len(decoder_layers.kept(context, method.reduce(context), 0)) == 12 - 3 - 2
    context = decoder_layers.made(["s" + "v" * 3 + "t"], layer=4)
    assert decoder_layers.kept(context, method.reduce(context), 0) == []


@pytest.mark.parametrize(("queries", "scale"), CASES)
@pytest.mark.parametrize("asking", ["last", "text"])
def test_gsearch_and_psigmoid_rank_by_attention(queries, scale, asking):
    context = decoder_layers.made(queries=queries, scale=scale, seed=8, layer=3)
    fixed = GSearch(kept=(1.0, 1.0, 0.8, 0.4, 0.4, 0.1, 0.0, 0.0), asking=asking)
    falling = PSigmoid(retain=0.4, asking=asking)
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        last = [decoder_layers.last_of(context, row)]
        scores = summed(
            context, row, (decoder_layers.text_of(context, row) or last) if asking == "text" else last, np.mean
        )
        want = decoder_layers.top(slots, scores, round(0.4 * len(slots)))
        assert decoder_layers.kept(context, fixed.reduce(context), row) == want
        want = decoder_layers.top(slots, scores, falling.counts(len(slots), 8)[3]) if slots else []
        assert decoder_layers.kept(context, falling.reduce(context), row) == want


def test_gsearch_asks_where_layers_differ():
    assert GSearch(kept=(0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.0, 0.0)).reduce_after(8) == (1, 3, 6)
    assert GSearch(kept=(1.0,) * 8).reduce_after(8) == ()
    assert GSearch(kept=(20, 20, 10, 5)).reduce_after(4) == (1, 2, 3)
    assert GSearch(kept=(20, 1, 1, 1)).reduce_after(4) == (1,)  # one token, which is not the share 1.0


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(1, 600), st.floats(0.01, 1.0), st.floats(0.01, 5000.0))
def test_psigmoid_meets_its_mean(n_layers, entered, retain, slope):
    method = PSigmoid(retain=retain, slope=slope)
    wanted = max(1, round(retain * entered))
    if wanted < entered and wanted * n_layers < entered:
        with pytest.raises(InvalidValueError, match="cannot be met"):
            method.counts(entered, n_layers)
        return
    counts = method.counts(entered, n_layers)
    assert len(counts) == n_layers
    assert counts[0] == entered
    assert list(counts) == sorted(counts, reverse=True)
    assert wanted - 1 < sum(counts) / n_layers <= wanted + 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 40), st.floats(0.3, 0.9), st.floats(0.5, 60.0))
def test_psigmoid_follows_the_formula(n_layers, retain, slope):
    entered = 10**6
    counts = PSigmoid(retain=retain, slope=slope).counts(entered, n_layers)
    share = [count / entered for count in counts]
    inner = [value for value in share[1:] if 1e-3 < value < 1 - 1e-3]
    assume(len(inner) >= 2)
    logits = [math.log(1 / value - 1) for value in inner]  # k (i - alpha): equal steps of k
    for before, after in pairwise(logits):
        assert after - before == pytest.approx(slope / n_layers, abs=5e-3)


def test_a_steep_sigmoid_is_vtw_and_a_flat_one_fastv():
    assert PSigmoid(retain=0.5, slope=1e5).counts(100, 8) == (100, 100, 100, 100, 0, 0, 0, 0)
    assert PSigmoid(retain=0.5, slope=1e-3).counts(100, 8) == (100,) + (42,) * 7
    assert PSigmoid(retain=1.0).counts(100, 8) == (100,) * 8


def test_fields():
    for method in (FitPrune(deletions=(1, 0.5, 0)), GSearch(kept=(1.0, 0.5)), PSigmoid(retain=9)):
        assert type(method).from_dict(method.to_dict()) == method
    for bad, match in [
        (lambda: FitPrune(deletions=3), "deletions must be a list, each a share .* not 3"),
        (lambda: FitPrune(deletions=(-1,)), r"deletions\[0\] must be a share in .* or a count from 0, not -1"),
        (lambda: GSearch(kept=(0.5, 0.6)), "kept must not rise from layer to layer"),
        (lambda: GSearch(kept=(5, 0.5)), "shares or counts, not both"),
        (lambda: GSearch(asking="all"), "asking must be one of last, text, not 'all'"),
        (lambda: PSigmoid(slope=0), "slope must be a number above 0, not 0"),
        (lambda: FitPrune().reduce_after(8), "fitprune has not been fitted: deletions is empty"),
        (lambda: GSearch(kept=(1.0,) * 32).reduce_after(8), "holds numbers for 32 layers, but this decoder has 8"),
    ]:
        with pytest.raises(InvalidValueError, match=match):
            bad()


@pytest.mark.parametrize("method", [FitPrune(deletions=(2,) * 8), GSearch(kept=(0.5,) * 8), PSigmoid()])
def test_a_row_of_a_batch_is_what_it_is_alone(method):
    context = decoder_layers.made(queries=11, seed=3)
    keep = method.reduce(context).keep
    for row in range(len(decoder_layers.ROWS)):
        if decoder_layers.fresh_of(context, row):
            assert method.reduce(decoder_layers.alone(context, row)).keep[0].tolist() == keep[row].tolist()
