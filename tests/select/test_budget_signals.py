"""Signals of budgets and of the guard against brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from todre.errors import InvalidValueError
from todre.select import coverage_count, coverage_radius, effective_rank, energy_rank, normalised_entropy

SHAPES = [(1, 4), (2, 4), (9, 3), (7, 16), (40, 8)]
SHARES = [0.3, 0.5, 0.9, 0.99, 1.0]


def tokens(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def unit(x):
    x = x.double().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def brute_coverage(x, cosine):
    """Greedy k-center, step by step, until all others are within the cosine."""
    rows = unit(x)
    table = rows @ rows.T
    chosen = [int((rows @ rows.sum(axis=0)).argmax())]
    while True:
        left = [token for token in range(len(rows)) if token not in chosen]
        nearest = {token: table[token, chosen].max() for token in left}
        if all(value >= cosine - 1e-9 for value in nearest.values()):
            return len(chosen)
        chosen.append(min(nearest, key=lambda token: (nearest[token], token)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", SHARES)
def test_the_energy_rank_is_that_of_the_singular_values(shape, share):
    x = tokens(*shape)
    energy = np.linalg.svd(x.double().numpy(), compute_uv=False) ** 2
    expected = next(k for k in range(1, len(energy) + 1) if energy[:k].sum() >= share * energy.sum() * (1 - 1e-9))
    assert energy_rank(x, share) == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cosine", [0.05, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_the_coverage_count_is_that_of_the_plain_loop(shape, cosine):
    for seed in range(3):
        x = tokens(*shape, seed)
        assert coverage_count(x, cosine) == brute_coverage(x, cosine)


def test_the_coverage_count_is_the_same_in_blocks_of_rows(monkeypatch):
    x = tokens(40, 8)
    expected = [coverage_count(x, cosine) for cosine in SHARES]
    monkeypatch.setattr("todre.select.budget_signals._ROWS", 7)
    assert [coverage_count(x, cosine) for cosine in SHARES] == expected
    kept = torch.tensor([3, 30])
    rows = unit(x)
    worst = max(1 - max(rows[i] @ rows[3], rows[i] @ rows[30]) for i in range(40) if i not in (3, 30))
    assert coverage_radius(x, kept) == pytest.approx(worst, abs=1e-6)


def test_copies_count_once():
    x = tokens(5, 6).repeat(4, 1)
    assert energy_rank(x, 1.0) == 5
    assert coverage_count(x, 1.0) == 5
    assert coverage_count(torch.cat([x, 3 * x]), 1.0) == 5  # of one direction, whatever the length
    assert energy_rank(x[:1].repeat(30, 1), 1.0) == coverage_count(x[:1].repeat(30, 1), 1.0) == 1
    assert coverage_radius(x, torch.arange(5)) == pytest.approx(0.0, abs=1e-6)


def test_zero_tokens_have_no_direction():
    nothing = torch.zeros(4, 3)
    assert energy_rank(nothing, 0.9) == 1
    assert coverage_radius(torch.cat([nothing, torch.eye(3)]), torch.tensor([4, 5, 6])) == 1.0


def test_a_radius_is_nought_where_all_stay_and_one_where_none_does():
    x = tokens(6, 4)
    assert coverage_radius(x, torch.arange(6)) == 0.0
    assert coverage_radius(x, torch.zeros(0, dtype=torch.int64)) == 1.0
    assert coverage_radius(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0])) == pytest.approx(2.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_changes_no_count_of_small_whole_numbers(dtype):
    x = (tokens(30, 6) * 3).round()
    for share in SHARES:
        assert energy_rank(x.to(dtype), share) == energy_rank(x, share)
        assert coverage_count(x.to(dtype), share) == coverage_count(x, share)


def test_the_entropy_is_that_of_shares():
    weight = torch.tensor([0.5, 0.25, 0.25, 0.0])
    assert normalised_entropy(weight) == pytest.approx(1.5 * np.log(2) / np.log(4))
    assert normalised_entropy(7 * weight) == pytest.approx(1.5 * np.log(2) / np.log(4))
    assert normalised_entropy(torch.ones(9)) == 1.0
    assert normalised_entropy(torch.tensor([1.0, 0.0])) == 0.0
    for nothing in (torch.zeros(3), torch.ones(1), torch.zeros(0), torch.tensor([1.0, torch.nan])):
        assert normalised_entropy(nothing) is None


def test_what_cannot_be_counted_is_one_sentence():
    x = tokens(4, 3)
    for broken in (torch.nan, torch.inf):
        for count in (effective_rank, lambda y: energy_rank(y, 0.5), lambda y: coverage_count(y, 0.5)):
            with pytest.raises(InvalidValueError, match=r"NaN or infinite.*\.$"):
                count(x.index_fill(0, torch.tensor([2]), broken))
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        for count in (energy_rank, coverage_count):
            with pytest.raises(InvalidValueError, match=r"^The threshold must lie in \(0, 1\], got .*; change it\.$"):
                count(x, wrong)
    for count in (energy_rank, coverage_count):
        with pytest.raises(InvalidValueError, match=r"shape \(n, d\), got \(1, 4, 3\); give the tokens of one picture"):
            count(x[None], 0.5)
