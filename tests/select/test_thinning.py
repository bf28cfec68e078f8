"""All cosines, and thinning by them, against float64 loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.select import gram, thin


def cosines(x):
    rows = x.double().numpy()
    norms = np.linalg.norm(rows, axis=1)
    found = np.zeros((len(rows), len(rows)))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if norms[i] * norms[j] > 0:
                found[i, j] = 1.0 if (a == b).all() else a @ b / (norms[i] * norms[j])
    return found


def brute_force(x, k, at_once=8):
    """The rounds of the released code, one token leaving after the other."""
    cosine, left = cosines(x), list(range(len(x)))
    while len(left) > k:
        halves, between = left[0::2], left[1::2]
        halves.sort(key=lambda i: -max(cosine[i, j] for j in between))
        left = halves[min(at_once, len(left) - k) :] + between
    return sorted(left)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "k"), [(40, 10), (41, 3), (23, 1), (8, 8), (9, 8)])
def test_thinning_is_the_slow_loop(seed, n, k):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    assert thin(x, k).tolist() == brute_force(x, k)
    assert thin(x, k, at_once=1).tolist() == brute_force(x, k, at_once=1)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 20))
def test_repeated_and_zero_tokens(data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4), min_size=n, max_size=n)))
    k = data.draw(st.integers(1, n))
    assert thin(x, k).tolist() == brute_force(x, k)
    assert torch.equal(gram(x).double(), torch.from_numpy(cosines(x)))


def test_duplicates_leave_before_others():
    apart = torch.randn(8, 300, generator=torch.Generator().manual_seed(3))
    assert thin(apart.repeat_interleave(2, dim=0), 8).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


def test_cosines_are_symmetric_and_those_of_float64():
    x = torch.randn(50, 33, generator=torch.Generator().manual_seed(4)) * 100
    x[7], x[20] = x[40].clone(), 0
    found = gram(x)
    assert torch.equal(found, found.T)
    assert torch.equal(found[7], found[40])
    assert float(found[20].abs().max()) == 0
    np.testing.assert_allclose(found.numpy(), cosines(x), atol=1e-6)


def test_a_bad_count_is_refused():
    with pytest.raises(InvalidValueError, match="k must lie between 1"):
        thin(torch.ones(3, 2), 4)
