"""PruMerge and PruMerge+ against float64 loops: outliers, neighbours, the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, order_of
from methods.making import visual_tokens_of
from methods.test_visionzip import cosine, quotas, tiles_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods import registry
from todre.methods.prumerge import PruMerge
from todre.tensors.token_facts import Signal

ATTENTION, KEYS = Signal("auto", -1), Signal("keys", -1)


def sample(name, seed=0, peaks=0):
    """A sample in which `peaks` of ten tokens get far more attention."""
    n = len(STILL[name](seed))
    generator = torch.Generator().manual_seed(seed + 1)
    attention = torch.rand(n, generator=generator)
    attention[torch.rand(n, generator=generator) < peaks / 10] += 5
    return STILL[name](seed, signals={ATTENTION: attention, KEYS: torch.randn(n, 5, generator=generator)})


def chosen_of(attention, tile, quota, method):
    """Tokens of a tile that are kept for themselves."""
    m = len(tile)
    order = order_of(attention, tile)
    if method.retain is None:
        values = attention[tile].double().numpy()
        low, high = np.percentile(values, 25), np.percentile(values, 75)
        outliers = max(sum(value > high + 1.5 * (high - low) for value in values), 1)
        chosen = set(order[:outliers])
        if method.spread:
            step = int(1 / (outliers / m) + 1e-9)
            chosen |= {tile[place] for place in range(int(step / 6), m, max(int(step / 3), 1))}
        return chosen
    own = max(quota - 1, 1)
    if not method.spread:
        return set(order[:own])
    count = int(np.ceil(own / 4))
    rest = sorted(order[count:])
    more = own - count
    return set(order[:count]) | {rest[(2 * part + 1) * len(rest) // (2 * more)] for part in range(more)}


def brute(visual, method):
    """Indices and embeddings of the kept tokens."""
    attention, keys = visual.signals[ATTENTION], visual.signals[KEYS].double().numpy()
    x = visual.embeddings.double().numpy()
    tiles = tiles_of(visual)
    result, counts, newlines_stay = {}, [None] * len(tiles), True
    if method.retain is not None:
        counts, newlines_stay = quotas(visual, method.retain, tiles)
    for tile, quota in zip(tiles, counts, strict=True):
        if quota == 0:
            continue
        if quota == len(tile):
            result |= {i: x[i] for i in tile}
            continue
        chosen = chosen_of(attention, tile, quota, method)
        for i in chosen:
            others = [j for j in tile if j != i]
            near = sorted(others, key=lambda j: (-round(cosine(keys[i], keys[j]), 9), j))[: method.neighbours]
            result[i] = x[i] + sum(float(attention[j]) * x[j] for j in near)
        left = [i for i in tile if i not in chosen]
        if left and quota != 1:
            seat = order_of(attention, left)[0]
            result[seat] = sum(float(attention[i]) * x[i] for i in left)
    if newlines_stay:
        result |= {i: x[i] for i in range(len(visual)) if visual.newline[i]}
    return result


def check(visual, method):
    selection, expected = method.select(visual), brute(visual, method)
    kept = selection.keep.nonzero().flatten().tolist()
    assert set(expected) <= set(kept)
    assert all(bool(visual.newline[i]) for i in set(kept) - set(expected))
    for i, embedding in expected.items():
        torch.testing.assert_close(selection.embeddings[i].double(), torch.from_numpy(embedding), atol=2e-5, rtol=1e-5)
    return kept


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(STILL)),
    seed=st.integers(0, 999),
    spread=st.booleans(),
    neighbours=st.sampled_from([0, 1, 3, 32]),
    data=st.data(),
)
def test_exact_budgets_equal_the_brute_force(name, seed, spread, neighbours, data):
    visual = sample(name, seed)
    k = data.draw(st.integers(1, len(visual)))
    kept = check(visual, PruMerge(retain=k, spread=spread, neighbours=neighbours))
    assert len(kept) == k


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(STILL)), seed=st.integers(0, 999), spread=st.booleans(), peaks=st.integers(0, 2))
def test_adaptive_budgets_equal_the_brute_force(name, seed, spread, peaks):
    check(sample(name, seed, peaks), PruMerge(spread=spread))


def test_one_outlier_in_a_flat_picture():
    n = 16
    attention = torch.full((n,), 0.01)
    attention[5] = 0.9
    visual = visual_tokens_of(n, signals={ATTENTION: attention, KEYS: torch.zeros(n, 3)}, embeddings=torch.eye(n))
    selection = PruMerge(neighbours=2).select(visual)
    assert selection.keep.nonzero().flatten().tolist() == [0, 5]
    expected = torch.zeros(n)
    expected[5], expected[0], expected[1] = 1.0, 0.01, 0.01
    torch.testing.assert_close(selection.embeddings[5], expected)
    plus = PruMerge(spread=True).select(visual)
    assert plus.keep.nonzero().flatten().tolist() == [0, 2, 5, 7, 12]


@pytest.mark.parametrize("name", sorted(STILL))
@pytest.mark.parametrize("spread", [False, True])
def test_keeping_all_changes_no_bit(name, spread):
    visual = sample(name)
    selection = PruMerge(retain=1.0, spread=spread).select(visual)
    assert bool(selection.keep.all())
    assert torch.equal(selection.embeddings, visual.embeddings)


def test_missing_signals_are_refused():
    with pytest.raises(UnsupportedInputError):
        PruMerge().select(visual_tokens_of(9))


def test_settings():
    assert registry.create("prumerge-plus", retain=20) == PruMerge(retain=20, spread=True)
    assert PruMerge.from_dict(PruMerge(retain=None, neighbours=4).to_dict()) == PruMerge(neighbours=4)
    for wrong in ({"retain": 0}, {"spread": "yes"}, {"neighbours": -1}, {"attention": "keys"}):
        with pytest.raises(InvalidValueError):
            PruMerge(**wrong)
