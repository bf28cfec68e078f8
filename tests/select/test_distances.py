"""Distances from inner products against differences in float64."""

from __future__ import annotations

import pytest
import torch

from todre.errors import InvalidValueError
from todre.methods.shared.clusters import density_peaks
from todre.select import distances, gram


def exact(x):
    x = x.double()
    return (x[:, None] - x).square().sum(dim=-1).sqrt()


def made(n, d, seed, shared=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * (torch.randn(n, d, generator=generator) + shared * torch.randn(1, d, generator=generator))


@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 1), (97, 40), (300, 200)])
@pytest.mark.parametrize("shared", [0.0, 3.0, 1000.0])
@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1.0, 1e17, 1e30])
def test_they_have_the_digits_of_differences(n, d, shared, scale):
    """Also where tokens are alike, as in a narrow cone, and where squares leave float32's range."""
    x = made(n, d, seed=n, shared=shared, scale=scale)
    found, true = distances(x), exact(x)
    assert torch.equal(found, found.T)
    assert (found - true).abs().max() <= 2e-5 * true.max()


def test_close_pairs_keep_their_digits():
    x = made(200, 64, seed=1, shared=2.0)
    x[1::20] = x[::20] + 1e-4 * torch.randn(10, 64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(distances(x).double(), exact(x), rtol=1e-4, atol=0.0)


def test_identical_tokens_are_at_distance_0_and_alike():
    base = made(150, 37, seed=3)
    x = torch.cat([base, base[:50], base[:50]])
    found = distances(x)
    assert (found.diagonal() == 0).all()
    for token in range(50):
        assert torch.equal(found[token], found[150 + token])
        assert found[token, 150 + token] == found[150 + token, 200 + token] == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [40, 200])
def test_density_peaks_are_those_of_float64(seed, n):
    """The definition in float64, on tokens whose scores differ."""
    x, count = made(n, 16, seed, shared=1.0), n // 10
    distance = exact(x) / 4
    density = (-distance.topk(count, largest=False).values.square().mean(dim=1)).exp()
    apart = torch.where(density[None] > density[:, None], distance, distance.max()).amin(dim=1)
    scores = (apart * density).sort(descending=True)
    centres, member = density_peaks(x, count)
    assert (scores.values[:count] - scores.values[1 : count + 1]).min() > 1e-7
    assert centres.tolist() == scores.indices[:count].tolist()
    assert torch.equal(member[centres], torch.arange(count))
    nearest = distance[:, centres]
    others = torch.ones(n, dtype=torch.bool).index_fill(0, centres, False)
    picked = nearest.gather(1, member[:, None])[:, 0]
    assert (picked[others] <= nearest.amin(dim=1)[others] + 1e-6).all()


def test_tokens_that_are_not_finite_are_refused():
    with pytest.raises(InvalidValueError, match="the first is token 1"):
        distances(torch.tensor([[1.0], [torch.inf]]))


@pytest.mark.parametrize("n", [1, 2, 95, 96, 97, 193, 400])
def test_products_in_halves_give_every_pair(n):
    x = made(n, 24, seed=n, shared=1.0)
    unit = x.double() / x.double().norm(dim=1, keepdim=True)
    found = gram(x)
    assert torch.equal(found, found.T)
    assert (found - unit @ unit.T).abs().max() < 1e-6
