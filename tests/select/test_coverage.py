"""Greedy coverage against a float64 loop over all gains, on the CPU's path and the accelerators'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neverread import NeverRead

from todre.errors import InvalidValueError
from todre.select import coverage_order, coverage_orders, facility_order, facility_orders, gram, likeness
from todre.select.lazy_coverage import Gains
from todre.select.likeness import _queued
from todre.select.queued_coverage import queued_coverage

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def brute_force(matrix, k, weight=None, rounding=1e-6):
    """The formula, one candidate at a time: w_j · Σ_r max(0, m_rj - c_r), and then by weight."""
    m = np.asarray(matrix, dtype=np.float64)
    w = np.ones(m.shape[1]) if weight is None else np.asarray(weight, dtype=np.float64)
    cover, order = np.zeros(len(m)), []
    first = [float(np.maximum(m[:, j], 0).sum()) for j in range(m.shape[1])]
    while len(order) < k:
        best, at = 0.0, None
        for j in range(m.shape[1]):
            gain = float(np.maximum(m[:, j] - cover, 0).sum())
            if j not in order and gain > rounding * first[j] and w[j] * gain > best * (1 + 1e-12):
                best, at = w[j] * gain, j
        if at is None:
            rest = sorted((j for j in range(m.shape[1]) if j not in order), key=lambda j: (-w[j], j))
            return order + rest[: k - len(order)]
        order.append(at)
        cover = np.maximum(cover, m[:, at])
    return order


def cosines(x):
    """All cosines in float64; 0 for zero tokens."""
    rows = x.double().numpy()
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit @ unit.T


def queued(matrices, counts, weights=None):
    """The accelerators' path, on the CPU."""
    columns = [matrix.T.float().contiguous() for matrix in matrices]
    weights = [torch.ones(len(part)) for part in columns] if weights is None else weights
    with NeverRead():
        return queued_coverage(columns, counts, [weight.double() for weight in weights])


def made(rows, n, seed, low=0.0):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(rows, n, generator=generator) * (1 - low) + low
    return matrix, torch.rand(n, generator=generator)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "n"), [(40, 30), (7, 150), (150, 90), (1, 20)])
@pytest.mark.parametrize("weighted", [True, False])
def test_every_pick_has_the_largest_gain(rows, n, seed, weighted):
    matrix, weight = made(rows, n, seed, low=-0.4)
    weight = weight if weighted else None
    expected = brute_force(matrix, n, weight)
    assert coverage_order(matrix, n, weight).tolist() == expected
    assert queued([matrix], [n], None if weight is None else [weight])[0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 8), n=st.integers(1, 90))
def test_ties_go_to_the_first(data, rows, n):
    column = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), min_size=rows, max_size=rows)
    pool = data.draw(st.lists(column, min_size=1, max_size=6))
    picks = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=n, max_size=n))
    matrix = torch.tensor([pool[at] for at in picks]).T
    weight = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n)))
    k = data.draw(st.integers(1, n))
    expected = brute_force(matrix, k, weight)
    assert coverage_order(matrix, k, weight).tolist() == expected
    assert queued([matrix], [k], [weight])[0].tolist() == expected


@pytest.mark.parametrize("rows", [1, 5, 576, 2880, 5000, 9000, 20000])
def test_a_gain_is_the_same_alone_and_among_others_and_never_rises(rows):
    generator = np.random.default_rng(rows)
    columns = generator.random((64, rows), np.float32)
    gains, before = Gains(columns), np.full(64, np.inf)
    for pick in (3, 60, 11):
        together = gains.of(np.arange(64))
        for count in (1, 2, 7, 33):
            assert np.array_equal(gains.of(np.arange(64 - count, 64)), together[64 - count :])
        assert (together <= before).all()
        before = together
        gains.add(pick)


def tokens(n, d, seed=0, shared=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator) + shared * torch.randn(1, d, generator=generator)


def assert_greedy(order, x, weight):
    """Check that no token gains more than each pick did, but for float32's rounding of cosines."""
    matrix = cosines(x)
    cover, weight = np.zeros(len(x)), weight.double().numpy()
    for step, pick in enumerate(order):
        value = weight * np.maximum(matrix - cover[:, None], 0).sum(axis=0)
        value[order[:step]] = -np.inf
        assert value[pick] >= value.max() - 1e-5
        cover = np.maximum(cover, matrix[:, pick])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_tokens_that_stand_for_all(dtype, shared, weighted):
    x = tokens(150, 40, 2, shared).to(dtype)
    weight = torch.rand(150, generator=torch.Generator().manual_seed(1)) if weighted else torch.ones(150)
    order = facility_order(x, 40, weight).tolist()
    assert_greedy(order, x, weight)
    assert order == brute_force(gram(x).float(), 40, weight)
    with NeverRead():
        columns = _queued(x, None)
    assert queued([columns.T], [40], [weight])[0].tolist() == brute_force(columns.float(), 40, weight)


def test_many_half_precision_tokens_are_summed_exactly():
    """1200 cosines near 1 would lose a difference of one token in float16, and in bfloat16 much more."""
    x = torch.ones(1200, 8, dtype=torch.float16)
    x[7:700, 0] = -0.5
    x[700:, 1] = -0.5
    x[5, 2] = 0.5
    assert facility_order(x, 3).tolist() == brute_force(cosines(x), 3)
    assert facility_order(x.bfloat16(), 3).tolist() == brute_force(cosines(x), 3)


def test_when_all_is_covered_weight_decides_and_not_rounding():
    """20 tokens three times each: after 20 picks the heaviest come, not the first."""
    base = tokens(3, 16, seed=2)
    scale = torch.linspace(0.7, 1.9, 60)[:, None]  # parallel, but not identical: gains are rounding, not 0
    x, weight = base.repeat(20, 1) * scale, torch.linspace(0.1, 1.0, 60)
    order = facility_order(x, 8, weight).tolist()
    assert sorted(pick % 3 for pick in order[:3]) == [0, 1, 2]
    heaviest = [i for i in range(59, -1, -1) if i not in order[:3]]
    assert order[3:] == heaviest[:5]
    assert order == brute_force(cosines(x), 8, weight)
    assert queued([likeness(x).T], [8], [weight])[0].tolist() == order


def test_a_light_candidate_that_covers_comes_before_heavy_rounding():
    matrix = torch.eye(3).repeat_interleave(2, dim=1)
    matrix[:, 1] *= 1 - 1e-7
    weight = torch.tensor([1.0, 1.0, 1e-9, 1e-9, 0.0, 0.0])
    expected = [0, 2, 1, 3, 4, 5]
    assert coverage_order(matrix, 6, weight).tolist() == expected
    assert queued([matrix], [6], [weight])[0].tolist() == expected


def test_negative_cosines_never_help():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.05], [-1.0, -0.3], [0.9, 0.2]])
    positive = np.maximum(cosines(x), 0)
    assert facility_order(x, 1).tolist() == [int(positive.sum(axis=0).argmax())]
    assert facility_order(x, 5).tolist() == brute_force(positive, 5) == brute_force(cosines(x), 5)


def test_samples_of_different_size_together_are_as_alone():
    sizes = [(40, 17, 90), (3, 50, 7), (120, 64, 30), (1, 1, 1)]
    pairs = [made(rows, max(n, k), seed) for seed, (rows, n, k) in enumerate(sizes)]
    counts = [k for _, _, k in sizes]
    matrices, weights = [one for one, _ in pairs], [one for _, one in pairs]
    alone = [coverage_order(one, k, w).tolist() for one, k, w in zip(matrices, counts, weights, strict=True)]
    assert [order.tolist() for order in coverage_orders(matrices, counts, weights)] == alone
    assert [order.tolist() for order in queued(matrices, counts, weights)] == alone
    samples = [tokens(30, 8, 1), tokens(12, 8, 2)]
    assert [order.tolist() for order in facility_orders(samples, [5, 12])] == [
        facility_order(samples[0], 5).tolist(),
        facility_order(samples[1], 12).tolist(),
    ]
    assert coverage_orders([], []) == []


def test_in_parts_that_fit_the_memory(monkeypatch):
    matrices, weights = zip(*(made(20 * (at + 1), 50 * (at + 1), at) for at in range(3)), strict=True)
    whole = queued(matrices, [20, 30, 40], weights)
    monkeypatch.setattr("todre.select.queued_coverage._CELLS", 100)
    for wider in (0, 100):
        monkeypatch.setattr("todre.select.queued_coverage._WIDER", wider)
        parts = queued(matrices, [20, 30, 40], weights)
        assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_tokens_that_are_not_finite_are_not_hidden(bad):
    x = tokens(30, 8)
    x[[21, 4]] = 0
    clean = [i for i in facility_order(x, 30).tolist() if i not in (4, 21)]
    x[21, 3] = x[4, 0] = bad
    with pytest.raises(InvalidValueError, match="x must be finite"):
        facility_order(x, 3)
    with NeverRead():
        columns = _queued(x, None)
    assert queued([columns.T], [12])[0].tolist() == [4, 21, *clean[:10]]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [5, 60, 1100])
def test_likeness_is_the_cosine(n, dtype):
    x, to = tokens(n, 12, seed=n).to(dtype), tokens(9, 12, seed=4).to(dtype)
    x[n // 2] = x[0]
    x[1] = 0
    norms = [one.double().norm(dim=1, keepdim=True).clamp(min=1e-9) for one in (x, to)]
    unit = [(one.double() / norm).numpy() for one, norm in zip((x, to), norms, strict=True)]
    for found in (likeness(x), _queued(x, None)):
        np.testing.assert_allclose(found, unit[0] @ unit[0].T, atol=2e-6)
        assert torch.equal(found[0], found[n // 2])
        assert torch.equal(found[:, 0], found[:, n // 2])
        assert found[0, n // 2] == 1
        assert not found[1].any()
    for found in (likeness(x, to), _queued(x, to)):
        np.testing.assert_allclose(found, unit[0] @ unit[1].T, atol=2e-6)
        assert torch.equal(found[0], found[n // 2])
    assert torch.equal(likeness(x), gram(x))


def test_the_matrix_of_many_tokens_is_symmetric_and_its_twins_equal():
    x = tokens(1300, 6, seed=3)
    x[1200] = x[3]
    x[900] = 0
    found = gram(x)
    np.testing.assert_allclose(found, cosines(x), atol=2e-6)
    assert torch.equal(found, found.T)
    assert torch.equal(found[1200], found[3])
    assert found[1200, 3] == 1
    assert not found[900].any()


def test_bad_values_are_refused():
    matrix = torch.rand(4, 3)
    for bad in (torch.ones(3, 4, 2), torch.ones(4, 3, dtype=torch.int64), torch.ones(4, 0), [[1.0]]):
        with pytest.raises(InvalidValueError, match="matrix must be a floating-point tensor"):
            coverage_order(bad, 1)
    with pytest.raises(InvalidValueError, match="k must lie between 1 and the number of tokens, 3"):
        coverage_order(matrix, 4)
    for weight in (torch.ones(2), torch.tensor([1.0, -1.0, 1.0]), torch.tensor([1.0, torch.inf, 1.0])):
        with pytest.raises(InvalidValueError, match="weight must hold 3 finite numbers"):
            coverage_order(matrix, 2, weight)
    with pytest.raises(InvalidValueError, match="matrix must be finite"):
        coverage_order(matrix.masked_fill(matrix > 0.5, torch.nan), 2)
    for counts, weights in (([1], None), ([1, 1, 1], None), ([1, 1], [torch.ones(3)]), ([1, 1], [torch.ones(3)] * 3)):
        with pytest.raises(InvalidValueError, match="one entry for each sample"):
            coverage_orders([matrix, matrix], counts, weights)


@pytest.mark.parametrize("copies", range(2, 40))
def test_identical_tokens_have_identical_likeness_on_either_side(copies):
    """Products of matrices round by the place of a column, so that copies would differ in their last bits."""
    generator = torch.Generator().manual_seed(0)
    x, one = torch.randn(50, 70, generator=generator), torch.randn(1, 70, generator=generator)
    found = likeness(x, one.expand(copies, -1).contiguous())
    assert torch.equal(found, found[:, :1].expand(-1, copies))
    found = likeness(one.expand(copies, -1).contiguous(), x)
    assert torch.equal(found, found[:1].expand(copies, -1))
