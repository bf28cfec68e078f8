"""Greedy diversity: k-center (ToDRE v1, eq. 5) and max-sum (ToDRE v2), as exact as the arithmetic allows, and fast.

Both grow a set from a pivot: each token carries one value, a fold over its cosines with the chosen tokens (their
maximum for k-center, their sum for max-sum), and the token with the lowest value is next. Folding a chosen token in
takes its cosines with all n tokens; read one at a time, that is the whole (n, d) matrix from memory once per pick. A
token that is low now is likely to be picked soon, so the cosines of a block of the lowest tokens are computed in one
matrix product and remembered until they are asked for. The picks are those of the plain loop, for it *is* that loop.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from todre.select.checks import as_count, as_pivots, as_samples
from todre.select.rows import UnitRows, unit_rows

Fold = Callable[[Tensor, Tensor], None]

_BLOCK = 64
_CHOSEN = float("inf")


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
    return _select(x, k, pivot, _fold_max)


def max_sum(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Choose k tokens by greedy max-sum dispersion under cosine distance, starting from `pivot`.

    Next is always the token with the largest sum of distances `1 - cosine` to the tokens chosen so far (ToDRE v2,
    arXiv 2505.18757v2, stage 1). The sums are kept in float64.

    Arguments, result and errors are those of `k_center`.
    """
    return max_sum_order(x, k, pivot).sort(-1).values


def max_sum_order(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """`max_sum` with the indices in the order of choosing, the pivot first."""
    return _select(x, k, pivot, _fold_sum)


def _fold_max(value: Tensor, cosines: Tensor) -> None:
    torch.maximum(value, cosines, out=value)


def _fold_sum(value: Tensor, cosines: Tensor) -> None:
    value.add_(cosines)


@torch.no_grad()
def _select(x: Tensor, k: int, pivot: int | Tensor, fold: Fold) -> Tensor:
    """Choose in each sample by itself: a batched product rounds differently, and no pick may depend on neighbours."""
    samples = as_samples(x)
    n = x.shape[-2]
    k = as_count(k, n)
    pivots = as_pivots(pivot, len(samples), n, batched=x.ndim == 3)
    picks = [_grow(unit_rows(sample), k, first, fold) for sample, first in zip(samples, pivots, strict=True)]
    shape = (k,) if x.ndim == 2 else (len(samples), k)
    return torch.tensor(picks, dtype=torch.int64).reshape(shape).to(x.device)


def _grow(rows: UnitRows, k: int, pivot: int, fold: Fold) -> list[int]:
    """The k picks in order. Values are float64 on the CPU; the device only multiplies matrices, once per block."""
    n, width = rows.unit.shape
    value = torch.full((n,), -_CHOSEN if fold is _fold_max else 0.0, dtype=torch.float64)
    known: dict[int, Tensor] = {}
    order = [pivot]
    while len(order) < k:
        pick = order[-1]
        value[pick] = _CHOSEN
        if pick not in known:
            if len(known) + _BLOCK > max(width, _BLOCK):
                known.clear()  # the remembered cosines never outgrow the tokens themselves
            block = _block(value, pick, known, min(_BLOCK, 4 * len(order), 4 * (k - len(order))))
            known.update(zip(block.tolist(), rows.cosines(block), strict=True))
        fold(value, known[pick])
        order.append(int(value.argmin()))
    return order


def _block(value: Tensor, pick: int, known: dict[int, Tensor], size: int) -> Tensor:
    """`pick` and the tokens of lowest value whose cosines are not known yet: (≤ size,) int64."""
    waiting = value.clone()
    waiting[list(known)] = _CHOSEN
    lowest = waiting.topk(min(size, len(value)) - 1, largest=False).indices
    lowest = lowest[waiting[lowest] < _CHOSEN]
    return torch.cat([torch.tensor([pick]), lowest])
