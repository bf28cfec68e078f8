"""SparseVLM: raters, budgets, and density peaks, against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.shared import clusters
from todre.methods.shared.budgets import layer_average
from todre.methods.shared.clusters import density_peaks
from todre.methods.sparsevlm import LISTS, SparseVLM

LONG = (
    "ss" + "v" * 60 + "t" * 8,
    "." * 8 + "s" + "v" * 50 + "ttt" + "v" * 5 + "ttt",
    "s" + "v" * 40 + "t" * 5 + "." * 24,
)


def states_of(context, row):
    """States that enter the next layer, by slot."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    return {place + start: state for place, state in enumerate(context.hidden[row].double().numpy())}


def inputs_of(context, row):
    """Embeddings that entered the decoder, by slot."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    return {place + start: state for place, state in enumerate(context.entry[row].double().numpy())}


def brute_scores(context, row):
    """Attention that each slot gets, averaged over heads and raters."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    inputs, fresh = inputs_of(context, row), decoder_layers.fresh_of(context, row)
    texts = [place + start for place in decoder_layers.text_of(context, row)]
    asked = texts or [decoder_layers.last_of(context, row) + start]
    if texts and fresh:
        share = np.zeros(len(texts))
        for slot in fresh:
            logits = np.array([inputs[slot] @ inputs[text] for text in texts])
            weights = np.exp(logits - logits.max())
            share += weights / weights.sum() / len(fresh)
        above = [text for text, value in zip(texts, share, strict=True) if value > share.mean() + 1e-9]
        asked = above or texts
    rows = [
        decoder_layers.attention(context.attention_inputs, context.kinds, row, slot - start).mean(0) for slot in asked
    ]
    return sum(rows) / len(rows)


def brute_peaks(tokens, count):
    n, d = tokens.shape
    distance = [[math.dist(a, b) / math.sqrt(d) for b in tokens] for a in tokens]
    density = [math.exp(-sum(x * x for x in sorted(line)[:count]) / count) for line in distance]
    score = []
    for i in range(n):
        denser = [j for j in range(n) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        gap = min(distance[i][j] for j in denser) if denser else max(map(max, distance))
        score.append(gap * density[i])
    centres = sorted(range(n), key=lambda i: -score[i])[:count]
    member = [
        centres.index(i) if i in centres else min(range(count), key=lambda c: distance[centres[c]][i]) for i in range(n)
    ]
    return centres, member


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 10**6))
def test_density_peaks(n, count, seed):
    count = min(n, count)
    tokens = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    centres, member = density_peaks(tokens, count)
    assert (centres.tolist(), member.tolist()) == brute_peaks(tokens.double().numpy(), count)


@pytest.mark.parametrize("held", [1, 90, 400])
def test_density_peaks_block_by_block(held, monkeypatch):
    tokens = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    whole = density_peaks(tokens, 7)
    monkeypatch.setattr(clusters, "_HELD", held)
    assert all(torch.equal(one, other) for one, other in zip(density_peaks(tokens, 7), whole, strict=True))


def test_density_peaks_of_equal_tokens():
    centres, member = density_peaks(torch.ones(5, 3), 2)
    assert centres.tolist() == [0, 1]
    assert member.tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("rows", "queries", "scale"), [(LONG, None, 1.0), (LONG, 60, 1.0), (decoder_layers.ROWS, None, 1.0)]
)
@pytest.mark.parametrize("retain", [1, 2, 3, 9, 25, 1.0])
def test_what_stays_and_what_is_merged(rows, queries, scale, retain):
    context = decoder_layers.made(rows, queries=queries, scale=scale, seed=2, layer=4)
    reduction = SparseVLM(retain=retain).reduce(context)
    for row in range(len(rows)):
        fresh, states = decoder_layers.fresh_of(context, row), states_of(context, row)
        count = min(retain, len(fresh)) if isinstance(retain, int) else len(fresh)
        expected = {}
        if count < len(fresh):
            leaving = len(fresh) - count
            groups = min((int(leaving * 0.3 + 1)) // 10 + 1, count - 1)
            order = decoder_layers.ranked(fresh, brute_scores(context, row))
            staying, rest = order[: count - groups], order[count - groups :]
            expected = {slot: states[slot] for slot in staying}
            if groups:
                pool = sorted(rest[: max(groups, int(len(rest) * 0.3) + 1)])
                centres, member = brute_peaks(np.array([states[slot] for slot in pool]), groups)
                for number, centre in enumerate(centres):
                    group = [states[slot] for slot, at in zip(pool, member, strict=True) if at == number]
                    expected[pool[centre]] = sum(group) / len(group)
        else:
            expected = {slot: states[slot] for slot in fresh}
        assert decoder_layers.kept(context, reduction, row) == sorted(expected)
        start = context.kinds.shape[1] - context.hidden.shape[1]
        for slot, state in states.items():
            if reduction.keep[row, slot]:
                want = torch.as_tensor(expected.get(slot, state))
                torch.testing.assert_close(reduction.hidden[row, slot - start].double(), want, atol=1e-5, rtol=0)


def test_raters_are_chosen_by_the_embeddings():
    context = decoder_layers.made(
        ["svvvvttt"], d=2, entry=torch.tensor([[[0.0, 0.0]] + [[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 3])
    )
    for rater in range(3):
        context.entry[0, 5:] = torch.tensor([0.0, 1.0])
        context.entry[0, 5 + rater] = torch.tensor([5.0, 0.0])
        line = decoder_layers.attention(context.attention_inputs, context.kinds, 0, 5 + rater).mean(0)
        reduction = SparseVLM(retain=2, layers=3, shape=(1,), recycle=False).reduce(context)
        assert decoder_layers.kept(context, reduction, 0) == decoder_layers.top([1, 2, 3, 4], line, 2)


def test_without_recycling_the_best_stay():
    context = decoder_layers.made(LONG, seed=4, layer=4)
    reduction = SparseVLM(retain=7, recycle=False).reduce(context)
    assert reduction.hidden is None
    for row in range(len(LONG)):
        want = decoder_layers.top(decoder_layers.fresh_of(context, row), brute_scores(context, row), 7)
        assert decoder_layers.kept(context, reduction, row) == want


@pytest.mark.parametrize("tokens", LISTS)
def test_published_lists(tokens):
    method = SparseVLM.published(tokens)
    counts = []
    for layer in method.reduce_after(32):
        context = decoder_layers.made(["s" + "v" * 576 + "ttt"], layer=layer, n_layers=32)
        counts.append(len(decoder_layers.kept(context, method.reduce(context), 0)))
    assert tuple(counts) == LISTS[tokens]
    assert method.retain == counts[-1]
    seen = layer_average(576, method.reduce_after(32), counts, 32)
    assert seen == pytest.approx({192: 202.75, 128: 140.8, 96: 110.25, 64: 79.2}[tokens], abs=0.05)


@pytest.mark.parametrize("n_layers", [8, 32])
def test_layer_averages(n_layers):
    method = SparseVLM(retain=0.5, counting="layer-average")
    layers, counts = method.reduce_after(n_layers), []
    for layer in layers:
        context = decoder_layers.made(["s" + "v" * 100 + "ttt"], layer=layer, n_layers=n_layers)
        counts.append(len(decoder_layers.kept(context, method.reduce(context), 0)))
    assert 49 < layer_average(100, layers, counts, n_layers) <= 50


def test_rows_do_not_depend_on_each_other():
    context = decoder_layers.made(LONG, seed=9, layer=4)
    reduction = SparseVLM(retain=12).reduce(context)
    for row in range(len(LONG)):
        single = SparseVLM(retain=12).reduce(decoder_layers.alone(context, row))
        assert torch.equal(single.keep[0], reduction.keep[row])
        torch.testing.assert_close(single.hidden[0], reduction.hidden[row], atol=1e-6, rtol=0)


def test_fields():
    for method in (SparseVLM(), SparseVLM.published(64), SparseVLM(kept=(0.5, 0.3, 0.1))):
        assert SparseVLM.from_dict(method.to_dict()) == method
    for field, value, match in [
        ("shape", (1, 2, 3), "must not rise"),
        ("shape", (3, 2), "must hold one number for each of the 3 layers"),
        ("shape", None, "must be a list"),
        ("kept", (3, 0, 0), r"\[1\] must be a fraction in \(0, 1\]"),
        ("kept", 5, "must be a list"),
        ("kept", (5, 0.3, 0.1), "shares or counts, not both"),
        ("kept", (1.5, 0.3, 0.1), r"\[0\] must be a fraction in \(0, 1\]"),
    ]:
        with pytest.raises(InvalidValueError, match=rf"SparseVLM\.{field}.*{match}"):
            SparseVLM(**{field: value})
    with pytest.raises(InvalidValueError, match="layers must be in ascending order, as shape goes with them"):
        SparseVLM(layers=(16, 3, 7))
    with pytest.raises(InvalidValueError, match="tokens must be one of 192, 128, 96, 64, not 32"):
        SparseVLM.published(32)
