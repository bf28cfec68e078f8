"""DPP and MMR against determinants and sums over all pairs in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.select import dpp_order, mmr_order


def cosines(x):
    rows = x.double().numpy()
    norms = np.linalg.norm(rows, axis=1)
    found = np.zeros((len(rows), len(rows)))
    for i in range(len(rows)):
        for j in range(len(rows)):
            scale = norms[i] * norms[j]
            same = (rows[i] == rows[j]).all() and scale > 0
            found[i, j] = 1.0 if same else rows[i] @ rows[j] / scale if scale else 0.0
    return found


def determinants(kernel, chosen, rest):
    """det of the kernel on the chosen tokens and one more, for each of the rest."""
    return [np.linalg.det(kernel[np.ix_([*chosen, i], [*chosen, i])]) for i in rest]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("d", [30, 12])
def test_every_pick_has_the_largest_determinant(seed, d):
    generator = torch.Generator().manual_seed(seed)
    x, quality = torch.randn(24, d, generator=generator) + 0.5, torch.rand(24, generator=generator) + 0.1
    q = quality.double().numpy()
    kernel, chosen = np.outer(q, q) * cosines(x), []
    for pick in dpp_order(x, min(d, 12), quality).tolist():
        rest = [i for i in range(24) if i not in chosen]
        assert pick == rest[int(np.argmax(determinants(kernel, chosen, rest)))]
        chosen.append(pick)


def test_past_the_rank_quality_decides():
    x = torch.eye(3).repeat(4, 1)
    quality = torch.tensor([0.5, 1.0, 0.9, 0.6, 0.2, 0.3, 0.7, 1.0, 0.9, 0.1, 0.0, 0.8])
    assert dpp_order(x, 12, quality).tolist() == [1, 2, 6, 7, 8, 11, 3, 0, 5, 4, 9, 10]


@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(1, 9))
def test_repeated_and_zero_tokens_in_a_dpp(data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4), min_size=n, max_size=n)))
    q = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n)))
    order = dpp_order(x, n, torch.from_numpy(q)).tolist()
    assert sorted(order) == list(range(n))
    kernel, chosen = np.outer(q, q) * cosines(x), []
    for place, pick in enumerate(order):
        rest = [i for i in range(n) if i not in chosen]
        value = determinants(kernel, chosen, rest)
        now = np.linalg.det(kernel[np.ix_(chosen, chosen)]) if chosen else 1.0
        if max(value) <= 1e-9 * now:  # nothing raises it: all others by quality
            assert order[place:] == sorted(rest, key=lambda i: (-q[i], i))
            break
        assert value[rest.index(pick)] >= max(value) - 1e-9
        assert not any((x[i] == x[pick]).all() and q[i] == q[pick] for i in rest if i < pick)
        chosen.append(pick)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weight", [0.5, 0.0, 1.0, 0.2])
def test_every_pick_has_the_largest_marginal_relevance(seed, weight):
    generator = torch.Generator().manual_seed(seed)
    x, importance = torch.randn(30, 6, generator=generator), torch.rand(30, generator=generator)
    cosine, worth, chosen = cosines(x), importance.double().numpy(), []
    for pick in mmr_order(x, 30, importance, weight).tolist():
        rest = [i for i in range(30) if i not in chosen]
        if not chosen:
            assert pick == int(np.argmax(worth))
        else:
            value = [weight * worth[i] - (1 - weight) * max(cosine[i, j] for j in chosen) for i in rest]
            assert pick == rest[int(np.argmax(value))]
        chosen.append(pick)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(1, 12))
def test_ties_in_mmr_go_to_the_first(data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4), min_size=n, max_size=n)))
    worth = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    cosine, chosen = cosines(x), [int(np.argmax(worth))]
    while len(chosen) < n:
        rest = [i for i in range(n) if i not in chosen]
        value = [0.5 * worth[i] - 0.5 * max(cosine[i, j] for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(value))])
    assert mmr_order(x, n, torch.tensor(worth)).tolist() == chosen


def test_bad_values_are_refused():
    x = torch.ones(3, 2)
    with pytest.raises(InvalidValueError, match="quality must hold 3"):
        dpp_order(x, 2, torch.tensor([1.0, -1.0, 1.0]))
    with pytest.raises(InvalidValueError, match="importance must hold 3"):
        mmr_order(x, 2, torch.ones(2))
    with pytest.raises(InvalidValueError, match="k must lie between"):
        dpp_order(x, 4, torch.ones(3))
    with pytest.raises(InvalidValueError, match="k must lie between"):
        mmr_order(x, 0, torch.ones(3))
