"""All cosines of a set of tokens, for rules that compare every pair."""

from __future__ import annotations

from torch import Tensor

from todre.select.rows import UnitRows, unit_rows

# Rows mirrored at once.
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
    """Cosines of all pairs of unit rows, see `gram`; each pair is multiplied once."""
    cosines, alive = rows.upper(), rows.alive()
    for start in range(0, len(cosines), _BLOCK):
        end = min(start + _BLOCK, len(cosines))
        block = cosines[start:end, start:].clamp_(max=1.0)
        block[:, : end - start].triu_(1)
        block[:, : end - start] += block[:, : end - start].T.clone()
        cosines[end:, start:end] = block[:, end - start :].T
    cosines.diagonal().copy_(alive)
    if rows.twin is not None:
        cosines = cosines[rows.twin][:, rows.twin]
        same = (rows.twin[:, None] == rows.twin) & alive
        cosines.masked_fill_(same, 1.0)
    return cosines
