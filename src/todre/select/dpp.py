"""Greedy search in determinantal point processes (Chen et al., arXiv 1709.05135)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.select.checks import as_count
from todre.select.cosine_blocks import CosineBlocks, lowest
from todre.select.rows import UnitRows, unit_rows

_EXHAUSTED = 1e-13


@torch.no_grad()
def dpp_order(x: Tensor, k: int, quality: Tensor) -> Tensor:
    """Choose k tokens by fast greedy MAP inference of a DPP, in the order of choosing.

    The kernel is L = diag(q) K diag(q), with K the tokens' cosines and q their quality. The next token is always the
    one that raises log det of the chosen part of L most. The gains follow from the incremental Cholesky factor: d²_v =
    L_vv at first, and after a choice j, e_v = (L_jv - ⟨c_j, c_v⟩) / d_j joins c_v and d²_v falls by e_v². All
    arithmetic is in float64, because the gains lose their digits to cancellation. Only the rows of L that belong to
    picks and likely picks are computed: O(k n) numbers are held.

    Where no token raises the determinant above 0 any more (no gain exceeds 1e-13 of the first), the tokens of highest
    quality are chosen next.

    Args:
        x: tokens, (n, d), any float dtype and device.
        k: number of tokens to choose, 1 ≤ k ≤ n.
        quality: (n,), finite and at least 0.

    Returns:
        int64 indices (k,) on x's device. Ties go to the lowest index.

    Raises:
        InvalidValueError: k out of range, a bad quality, or a NaN or infinite value in x.
    """
    k = as_count(k, len(x))
    worth = quality.detach().double().cpu()
    if worth.shape != (len(x),) or not bool((worth.isfinite() & (worth >= 0)).all()):
        raise InvalidValueError(f"quality must hold {len(x)} finite numbers of at least 0, one for each token.")
    order = _grow(unit_rows(x.double()), k, worth)
    return torch.tensor(order, dtype=torch.int64, device=x.device)


def _grow(rows: UnitRows, k: int, quality: Tensor) -> list[int]:
    gain = quality.square() * rows.alive()
    floor = _EXHAUSTED * float(gain.max())
    factor = torch.zeros(k, len(quality), dtype=torch.float64, device="cpu")
    blocks = CosineBlocks(rows, k)
    order: list[int] = []
    while len(order) < k:
        pick = int(gain.argmax())
        if float(gain[pick]) <= floor:
            return order + _rest(quality, order, k - len(order))
        cosines = blocks.row(pick, partial(lowest, -gain.numpy()))
        row = quality[pick] * quality * torch.from_numpy(cosines)
        done = len(order)
        row = (row - factor[:done, pick] @ factor[:done]) / gain[pick].sqrt()
        factor[done] = row
        gain -= row.square()
        gain[pick] = -torch.inf
        order.append(pick)
    return order


def _rest(quality: Tensor, chosen: list[int], count: int) -> list[int]:
    left = quality.clone()
    left[chosen] = -torch.inf
    return [int(index) for index in left.argsort(descending=True, stable=True)[:count]]
