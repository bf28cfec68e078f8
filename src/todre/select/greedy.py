"""Greedy diversity: k-center (ToDRE v1, eq. 5) and max-sum (ToDRE v2), as exact as the arithmetic allows, and fast.

Both grow a set from a pivot: each token carries one value, a fold over its cosines with the chosen tokens (their
maximum for k-center, their sum for max-sum), and the token with the lowest value is next. The plain loop reads the
whole (n, d) matrix once per pick; on the CPU, `nearest` and `summed` make the same picks with a fraction of that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from todre.select.checks import as_count, as_pivots, as_samples
from todre.select.nearest import nearest_order
from todre.select.rows import UnitRows, unit_rows
from todre.select.summed import summed_order

Order = Callable[[UnitRows, int, int], list[int]]


def k_center(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Choose k tokens by greedy k-center under cosine similarity, starting from `pivot`.

    Next is always the token whose highest cosine with the tokens chosen so far is lowest (ToDRE v1, arXiv 2505.18757v1,
    eq. 5; Algorithm 1 there omits the normalisation and the exclusion of chosen tokens).

    Args:
        x: tokens, (n, d) or (b, n, d), any float dtype and device. Normalised in float32 (float64 if x is float64).
            A zero token has cosine 0 with every token.
        k: how many to choose, 1 ≤ k ≤ n, the pivot included.
        pivot: index of the first token: an int or () tensor for all samples, or a (b,) LongTensor.

    Returns:
        int64 indices in ascending order on x's device, (k,) or (b, k). Ties go to the lowest index. A sample of a batch
        gets the same indices as alone.

    Raises:
        InvalidValueError: wrong type, shape or range, or a NaN or infinite value in x.
    """
    return k_center_order(x, k, pivot).sort(-1).values


def k_center_order(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """`k_center` with the indices in the order of choosing, the pivot first."""
    return _select(x, k, pivot, nearest_order)


def max_sum(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Choose k tokens by greedy max-sum dispersion under cosine distance, starting from `pivot`.

    Next is always the token with the largest sum of distances `1 - cosine` to the tokens chosen so far (ToDRE v2,
    arXiv 2505.18757v2, stage 1). The sums are kept in float64.

    Arguments, result and errors are those of `k_center`.
    """
    return max_sum_order(x, k, pivot).sort(-1).values


def max_sum_order(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """`max_sum` with the indices in the order of choosing, the pivot first."""
    return _select(x, k, pivot, summed_order)


@torch.no_grad()
def _select(x: Tensor, k: int, pivot: int | Tensor, order: Order) -> Tensor:
    """Choose in each sample by itself: a batched product rounds differently, and no pick may depend on neighbours."""
    samples = as_samples(x)
    n = x.shape[-2]
    k = as_count(k, n)
    pivots = as_pivots(pivot, len(samples), n, batched=x.ndim == 3)
    picks = [order(unit_rows(sample), k, first) for sample, first in zip(samples, pivots, strict=True)]
    shape = (k,) if x.ndim == 2 else (len(samples), k)
    return torch.tensor(picks, dtype=torch.int64).reshape(shape).to(x.device)
