"""Euclidean distances of all pairs of tokens, from inner products, on the CPU."""

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
    """Distances of all pairs of tokens, by half a product.

    Squared distances are differences of inner products. Those of close pairs, which would lose their digits that way,
    are computed from the tokens' differences.

    Args:
        x: tokens, (n, d), any float dtype, on the CPU; computed in float32.

    Returns:
        (n, n) float32, symmetric. Identical tokens are at distance 0 of each other, and at the same distances from
        others.

    Raises:
        InvalidValueError: a value in x is NaN or infinite.
    """
    twin = unit_rows(x).twin
    x, half = _scaled(x.detach().float().contiguous())
    squared = None if float32_is_reduced(x.device) else _from_products(x)
    found = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") if squared is None else squared.sqrt_()
    if twin is not None:
        found = found[twin][:, twin].masked_fill_(twin[:, None] == twin, 0.0)
    return found.mul_(half[0]).mul_(half[1])


def _scaled(x: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """The tokens times a power of two, and two factors that undo it.

    Their squares stay inside float32's range.
    """
    exponent = int(torch.frexp(x.abs().max()).exponent)
    first = exponent // 2  # one factor alone could overflow
    second = exponent - first
    return (x * 2.0**-first).mul_(2.0**-second), (2.0**first, 2.0**second)


def _from_products(x: Tensor) -> Tensor | None:
    """Squared distances of all pairs, (n, n); None if many pairs are close."""
    products = UnitRows(x, torch.ones_like(x[:, 0]), None).upper()
    norms = torch.linalg.vecdot(x, x)
    sums = norms[:, None] + norms
    squared = (sums - products.mul_(2)).triu_(1)
    close = (squared <= sums.mul_(_CLOSE)).triu_(1).nonzero()
    if len(close) * _MOST > len(x) ** 2:
        return None
    for part in close.split(_PAIRS):
        left, right = part.unbind(1)
        squared[left, right] = (x[left] - x[right]).square_().sum(dim=1)
    whole: Tensor = squared + squared.T
    return whole
