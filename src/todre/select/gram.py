"""All cosines of a set of tokens, for rules that compare every pair."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.rows import UnitRows, unit_rows

# More tokens than this are multiplied block by block, and only above the diagonal.
_WHOLE, _BLOCK = 1024, 512


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
    """Cosines of all pairs of unit rows, see `gram`."""
    upper = _above_diagonal(rows)
    cosines = upper + upper.T
    alive = rows.alive()
    cosines.diagonal().copy_(alive)
    if rows.twin is not None:
        cosines = cosines[rows.twin][:, rows.twin]
        same = (rows.twin[:, None] == rows.twin) & alive
        cosines.masked_fill_(same, 1.0)
    return cosines.clamp_(max=1.0)


def _above_diagonal(rows: UnitRows) -> Tensor:
    """Cosines of each token with later ones, (n, n) on the CPU; 0 elsewhere."""
    n = len(rows.tokens)
    if n <= _WHOLE:
        return rows.cosines(torch.arange(n, dtype=torch.int64, device="cpu")).triu_(1)
    blocks = [(start, rows.onward(start, min(start + _BLOCK, n))) for start in range(0, n, _BLOCK)]
    return torch.cat([torch.nn.functional.pad(block, (start, 0)) for start, block in blocks]).triu_(1)
