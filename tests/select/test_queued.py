"""The accelerators' path, run on the CPU: the same picks, and no value is read."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neverread import NeverRead

from todre.errors import InvalidValueError
from todre.select import diversity, k_center_order, max_sum_order, mmr_order
from todre.select.checks import as_queued_pivots
from todre.select.device_loops import queued_order, queued_rows
from todre.select.marginal_relevance import _queued

ORDERS = {"k_center": k_center_order, "max_sum": max_sum_order}
both = pytest.mark.parametrize("rule", ["k_center", "max_sum"])
CPU = torch.device("cpu")


def queued(x, k, pivot, rule):
    """The accelerator's path for one sample, or a batch of samples."""
    samples, n = (1, len(x)) if x.ndim == 2 else x.shape[:2]
    pivots = as_queued_pivots(pivot, samples, n, x.ndim == 3, CPU)
    with NeverRead():
        return diversity._on_device(x.reshape(-1, x.shape[-1]), samples, n, k, pivots, rule).reshape(*x.shape[:-2], k)


def tokens(n, d, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) + 2 * torch.randn(1, d, generator=g)


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_picks_are_those_of_the_cpu_path(rule, dtype):
    for seed in range(4):
        x = tokens(90, 40, seed).to(dtype)
        assert torch.equal(queued(x, 50, 7, rule), ORDERS[rule](x, 50, 7))


@both
@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 20))
def test_ties_twins_and_zero_tokens(rule, data, n):
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    x = torch.tensor(data.draw(st.lists(signs | st.just([0.0] * 4) | st.just([-0.0] * 4), min_size=n, max_size=n)))
    pivot = data.draw(st.integers(0, n - 1))
    assert queued(x, n, pivot, rule).tolist() == ORDERS[rule](x, n, pivot).tolist()


@both
def test_twins_tie_wherever_they_stand(rule):
    base = tokens(40, 37, seed=4)
    order = queued(torch.cat([base, base, base[:21]]), 101, 2, rule).tolist()
    place = {token: at for at, token in enumerate(order)}
    assert all(place[token - 40] < place[token] for token in range(40, 101))


@both
def test_a_batch_is_its_samples(rule):
    x = torch.stack([tokens(50, 24, seed) for seed in range(3)])
    x[1] = x[0]  # twins of another sample are no twins
    pivots = torch.tensor([0, 49, 7])
    batch = queued(x, 20, pivots, rule)
    for row in range(3):
        assert torch.equal(batch[row], queued(x[row], 20, pivots[row], rule))
        assert torch.equal(batch[row], ORDERS[rule](x[row], 20, int(pivots[row])))


@both
@pytest.mark.parametrize("scale", [1e-37, 1e-42, 1e37])
def test_any_scale(rule, scale):
    x = tokens(30, 16).clamp(-3, 3)
    rows = x * (4.0 ** torch.arange(30).remainder(5))[:, None]
    far = queued_rows((x.double() * scale).float(), torch.zeros(30, dtype=torch.int64))
    assert far.tokens.isfinite().all()
    assert torch.equal(queued(rows, 20, 0, rule), queued(x, 20, 0, rule))
    if scale > 1e-40:
        assert torch.equal(queued_order(far, 20, torch.tensor(0), rule), ORDERS[rule](x, 20, 0))


@both
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_tokens_that_are_not_finite_are_not_hidden(rule, bad):
    """Tokens that are not finite are kept first, as no error can be raised unread.

    The others are chosen as without them.
    """
    x = tokens(30, 8)
    x[[21, 4]] = 0
    clean = [i for i in ORDERS[rule](x, 30, 9).tolist() if i not in (4, 21)]
    x[21, 3] = x[4, 0] = bad
    order = queued(x, 12, 9, rule).tolist()
    assert order[:3] == [9, 4, 21]
    assert order[3:] == clean[1:10]


def test_a_pivot_tensor_is_brought_into_range():
    x = tokens(12, 5)
    rows = queued_rows(x, torch.zeros(12, dtype=torch.int64))
    assert int(queued_order(rows, 2, torch.tensor(99), "k_center")[0]) == 11
    with pytest.raises(InvalidValueError, match="got 99"):
        as_queued_pivots(99, 1, 12, False, CPU)
    with pytest.raises(InvalidValueError, match="float32"):
        as_queued_pivots(torch.ones((), device="meta"), 1, 12, False, CPU)


@pytest.mark.parametrize("weight", [0.5, 0.0, 1.0, 0.2])
def test_marginal_relevance_without_a_look(weight):
    x, importance = tokens(60, 12), torch.rand(60, generator=torch.Generator().manual_seed(1))
    with NeverRead():
        found = _queued(x, 40, importance, weight)
    assert torch.equal(found, mmr_order(x, 40, importance, weight))
