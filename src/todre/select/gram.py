"""All cosines of a set of tokens, for rules that compare every pair."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.rows import UnitRows, unit_rows

# Rows multiplied at once: few, so that little below the diagonal is computed; enough for a fast product.
_BLOCK = 160


def gram(x: Tensor) -> Tensor:
    """Cosines of all pairs of tokens.

    Identical tokens have cosine exactly 1, none is above 1, the matrix is symmetric to the last bit, and rows and
    columns of identical tokens are identical. A zero token has cosine 0 with every token, itself included.

    Args:
        x: tokens, (n, d), any float dtype and device.

    Returns:
        (n, n) on the CPU, float32 (float64 if x is float64, or where float32 products run at reduced precision).

    Raises:
        InvalidValueError: a value in x is NaN or infinite.
    """
    return gram_of(unit_rows(x))


def gram_of(rows: UnitRows) -> Tensor:
    """Cosines of all pairs of unit rows, see `gram`.

    Each pair is multiplied once, block by block above the diagonal, and written to both of its places.
    """
    n = len(rows.tokens)
    alive = rows.alive()
    cosines: Tensor | None = None
    for start in range(0, n, _BLOCK):
        end = min(start + _BLOCK, n)
        block = rows.onward(start, end).clamp_(max=1.0)
        cosines = block.new_empty(n, n) if cosines is None else cosines
        corner = block[:, : end - start].triu_(1)
        corner += corner.T.clone()
        cosines[start:end, start:] = block
        cosines[end:, start:end] = block[:, end - start :].T
    assert cosines is not None
    cosines.diagonal().copy_(alive)
    if rows.twin is not None:
        cosines = cosines[rows.twin][:, rows.twin]
        same = (rows.twin[:, None] == rows.twin) & alive
        cosines.masked_fill_(same, 1.0)
    return cosines
