"""DivPrune against the max-min rule written from all distances in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, placeless
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError
from todre.methods.divprune import DivPrune


def brute_force(x, k):
    """Section 3 of the paper: all pairwise cosine distances, then greedy max-min."""
    rows = x.double().numpy()
    n = len(rows)
    norms = np.linalg.norm(rows, axis=1)
    distance = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            scale = norms[i] * norms[j]
            same = i == j or ((rows[i] == rows[j]).all() and scale > 0)
            distance[i, j] = 0.0 if same else 1 - (rows[i] @ rows[j] / scale if scale else 0.0)
    nearest = [min((distance[i, j] for j in range(n) if j != i), default=np.inf) for i in range(n)]
    chosen = [int(np.argmax(nearest))]
    while len(chosen) < k:
        rest = [i for i in range(n) if i not in chosen]
        gain = [min(distance[i, j] for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(gain))])
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 7, 20])
def test_the_choice_is_that_of_all_distances(seed, k):
    visual = visual_tokens_of(30, d=6, seed=seed)
    assert kept(DivPrune(retain=k), visual) == brute_force(visual.embeddings, k)


@pytest.mark.parametrize("name", STILL)
def test_on_every_layout_with_newlines_as_tokens(name):
    visual = STILL[name](seed=4)
    visual.embeddings[visual.newline] = visual.embeddings[-1].clone()
    assert kept(DivPrune(retain=0.3), visual) == brute_force(visual.embeddings, round(0.3 * len(visual)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 12))
def test_ties_repeated_and_zero_tokens(data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4), min_size=n, max_size=n)))
    k = data.draw(st.integers(1, n))
    visual = visual_tokens_of(n, embeddings=x)
    assert kept(DivPrune(retain=k), visual) == (brute_force(x, k) if k < n else list(range(n)))


@pytest.mark.parametrize("visual", [STILL["anyres"](), STILL["clip"](), placeless()])
def test_exactly_the_budget(visual):
    assert_exact(DivPrune, visual)
    assert_same_in_any_scale(DivPrune(retain=0.4), visual)


def test_a_bad_budget_is_refused():
    with pytest.raises(InvalidValueError, match="a whole number of tokens from 1, such as 288, not 0"):
        DivPrune(retain=0)
