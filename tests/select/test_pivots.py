"""Pivots against their definitions in float64."""

import pytest
import torch

from todre.errors import InvalidValueError
from todre.select import pivot_center, pivot_farthest, pivot_random


def unit64(x):
    x = x.double()
    norm = x.norm(dim=-1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1)


def tokens(seed, n=50, d=16, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=g) + torch.randn(1, d, generator=g)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_center_is_nearest_to_the_mean_direction(seed, dtype):
    x = tokens(seed, dtype=dtype)
    mean = unit64(x).mean(0)
    cosine = [float(torch.dot(row, mean) / mean.norm()) for row in unit64(x)]
    assert pivot_center(x).item() == max(range(50), key=cosine.__getitem__)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_farthest_has_the_largest_sum_of_distances(seed, dtype):
    x = tokens(seed, dtype=dtype)
    unit = unit64(x)
    total = [sum(1 - float(unit[v] @ unit[u]) for u in range(50) if u != v) for v in range(50)]
    assert pivot_farthest(x).item() == max(range(50), key=total.__getitem__)


def test_a_zero_token_is_at_distance_one_from_the_rest():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 0.0], [1.0, -0.1]])
    assert pivot_farthest(x).item() == 2
    opposite = torch.cat([x, torch.tensor([[-5.0, 0.0]])])
    assert pivot_farthest(opposite).item() == 4
    obtuse = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-0.2, 1.0]])
    assert pivot_farthest(obtuse).item() == 1
    assert pivot_center(torch.zeros(3, 2)).item() == 0


def test_identical_tokens_tie_to_the_lowest_index():
    x = tokens(1, n=30, d=37)
    best, worst = pivot_center(x).item(), pivot_farthest(x).item()
    thrice = torch.cat([x, x, x])
    assert pivot_center(thrice).item() == best
    assert pivot_farthest(thrice).item() == worst


def test_batch_equals_singles():
    x = torch.stack([tokens(seed, dtype=torch.bfloat16) for seed in range(3)])
    for pivot in (pivot_center, pivot_farthest, lambda y: pivot_random(y, 7)):
        batch = pivot(x)
        assert batch.shape == (3,)
        assert batch.dtype == torch.int64
        assert batch.tolist() == [pivot(sample).item() for sample in x]
        assert pivot(x[0]).shape == ()


def test_random_is_reproducible_and_reaches_every_token():
    x = tokens(0, n=6)
    assert pivot_random(x, 3).item() == pivot_random(x, 3).item()
    assert {pivot_random(x, seed).item() for seed in range(80)} == set(range(6))
    generator = torch.Generator().manual_seed(0)
    batch = pivot_random(x.expand(60, 6, 16), generator)
    assert set(batch.tolist()) == set(range(6))
    generator.manual_seed(0)
    assert batch[0] == pivot_random(x, generator)


@pytest.mark.parametrize("seed", [True, 1.5, None, "7"])
def test_a_wrong_seed_is_one_sentence(seed):
    with pytest.raises(InvalidValueError, match=r"seed must be an int or a torch\.Generator"):
        pivot_random(tokens(0), seed)


@pytest.mark.parametrize("pivot", [pivot_center, pivot_farthest, lambda x: pivot_random(x, 0)])
def test_wrong_tokens_are_one_sentence(pivot):
    with pytest.raises(InvalidValueError, match=r"shape \(n, d\) or \(b, n, d\)"):
        pivot(torch.ones(3))
    with pytest.raises(InvalidValueError, match="int64"):
        pivot(torch.ones(3, 2).long())


@pytest.mark.parametrize("pivot", [pivot_center, pivot_farthest])
def test_values_that_are_not_finite_are_refused(pivot):
    x = tokens(0)
    x[4, 1] = float("nan")
    with pytest.raises(InvalidValueError, match="token 4"):
        pivot(x)
