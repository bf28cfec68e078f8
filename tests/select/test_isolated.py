"""The most isolated token, against float64 brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.select import pivot_isolated


def brute_force(x):
    rows = x.double().numpy()
    norms = np.linalg.norm(rows, axis=1)
    best, found = -np.inf, 0
    for i in range(len(rows)):
        distance = np.inf
        for j in range(len(rows)):
            if i != j:
                scale = norms[i] * norms[j]
                same = (rows[i] == rows[j]).all() and scale > 0
                cosine = 1.0 if same else rows[i] @ rows[j] / scale if scale else 0.0
                distance = min(distance, 1 - cosine)
        if distance > best:
            best, found = distance, i
    return found


@pytest.mark.parametrize("seed", range(8))
def test_it_has_the_farthest_nearest_neighbour(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 6, generator=generator) + 1.0
    assert int(pivot_isolated(x)) == brute_force(x)


def test_blocks_of_rows_give_what_all_rows_give():
    x = torch.randn(1100, 5, generator=torch.Generator().manual_seed(1))
    unit = x.double() / x.double().norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).fill_diagonal_(-2)
    assert int(pivot_isolated(x)) == int(cosine.amax(1).argmin())


@settings(max_examples=120, deadline=None)
@given(data=st.data(), n=st.integers(1, 12))
def test_ties_go_to_the_first_token(data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4), min_size=n, max_size=n)))
    assert int(pivot_isolated(x)) == brute_force(x)


@pytest.mark.parametrize("seed", range(20))
def test_a_pair_that_is_nearest_to_each_other_ties(seed):
    """Rounding must not choose between two tokens that are each other's neighbours.

    The two most isolated tokens often are.
    """
    generator = torch.Generator().manual_seed(seed)
    close = torch.randn(1, 64, generator=generator) + 0.05 * torch.randn(30, 64, generator=generator)
    x = torch.cat([close, torch.randn(2, 64, generator=generator)])
    x = x[torch.randperm(32, generator=generator)]
    assert int(pivot_isolated(x)) == brute_force(x)


def test_a_batch_gives_what_its_samples_give():
    x = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(2))
    assert pivot_isolated(x).tolist() == [int(pivot_isolated(sample)) for sample in x]


def test_one_token_is_its_own_pivot():
    assert int(pivot_isolated(torch.ones(1, 3))) == 0


def test_a_token_that_is_not_finite_is_refused():
    with pytest.raises(InvalidValueError, match="the first is token 1"):
        pivot_isolated(torch.tensor([[1.0], [torch.nan]]))
