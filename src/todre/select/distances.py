"""Euclidean distances of all pairs of tokens on the CPU, from their inner products."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.rows import UnitRows, float32_is_reduced, unit_rows

# A squared distance below this share of the two squared norms has lost too many digits to their difference.
_CLOSE = 0.02
# Pairs that are subtracted at once; if more than one pair in so many is close, all distances are computed from
# differences.
_PAIRS, _MOST = 512, 16


@torch.no_grad()
def distances(x: Tensor) -> Tensor:
    """Distances of all pairs, symmetric, and exactly 0 between identical tokens, which have identical distances.

    Squared distances are differences of inner products, half a product in all. Those of close pairs, which would lose
    their digits that way, are computed from the tokens' differences.

    Args:
        x: tokens, (n, d), any float dtype, on the CPU; computed in float32.

    Returns:
        (n, n) float32.

    Raises:
        InvalidValueError: a value in x is NaN or infinite.
    """
    twin = unit_rows(x).twin
    x = x.detach().float().contiguous()
    squared = None if float32_is_reduced(x.device) else _from_products(x)
    if squared is None:
        found = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        found = squared.sqrt_()
    if twin is not None:
        found = found[twin][:, twin].masked_fill_(twin[:, None] == twin, 0.0)
    return found


def _from_products(x: Tensor) -> Tensor | None:
    """Squared distances of all pairs, (n, n); None if many pairs are close, or numbers are too large."""
    products = UnitRows(x, torch.ones_like(x[:, 0]), None).upper().triu_(1)
    norms = torch.linalg.vecdot(x, x)
    if not bool(torch.isfinite(4 * norms.sum())):
        return None
    sums = norms[:, None] + norms
    squared = (sums - products.mul_(2)).triu_(1)
    close = (squared <= sums.mul_(_CLOSE)).triu_(1).nonzero()
    if len(close) * _MOST > len(x) ** 2:
        return None
    for part in close.split(_PAIRS):
        left, right = part.unbind(1)
        squared[left, right] = (x[left] - x[right]).square_().sum(dim=1)
    return squared + squared.T
