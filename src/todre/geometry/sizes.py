"""Sizes, smaller than a picture's own, that it can be resized to.

All have about the picture's ratio of sides. They are candidates; which of them is best is a matter of `smaller`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

Size = tuple[int, int]
"""(width, height) in pixels."""

STRETCH = 0.05
"""Greatest change of the ratio of sides in `scaled_sizes`, as a share of it."""
_LONGER, _SHORTER = 256, 16


def scaled_sizes(width: int, height: int) -> Iterator[Size]:
    """Sizes whose ratio of sides differs from the picture's by at most `STRETCH`.

    These are all such sizes in whole pixels where there are few: of larger pictures, 256 lengths of the longer side,
    with 16 lengths of the shorter side each.

    Args:
        width, height: the picture's size in pixels, which no size exceeds.
    """
    longer, shorter = max(width, height), min(width, height)
    for long in _spaced(1, longer, _LONGER):
        exact = long * shorter / longer
        first, last = math.ceil(exact / (1 + STRETCH)), min(math.floor(exact * (1 + STRETCH)), shorter)
        for short in _spaced(first, last, _SHORTER):
            yield (long, short) if width >= height else (short, long)


def whole_cells(width: int, height: int, cell: int) -> Iterator[Size]:
    """Sizes of whole cells, each side less than one cell from the picture scaled down.

    A grid of `rows` × `columns` cells is among them if, at some scale, the picture's height is less than one cell from
    `rows` cells, and its width less than one cell from `columns` cells.

    Args:
        width, height: the picture's size in pixels.
        cell: pixels along one side of a cell.
    """
    across, down = width / cell, height / cell
    for rows in range(1, math.ceil(down) + 1):
        first = max(math.floor((rows - 1) / down * across - 1) + 1, 1)
        for columns in range(first, math.ceil(across) + 1):
            if (columns - 1) / across >= (rows + 1) / down:
                break
            if (rows - 1) / down < (columns + 1) / across:
                yield columns * cell, rows * cell


def _spaced(first: int, last: int, most: int) -> list[int]:
    """Whole numbers from `first` to `last`: all, or `most` evenly spaced ones."""
    count = last - first + 1
    if count <= most:
        return list(range(first, last + 1))
    return [first + round(place * (count - 1) / (most - 1)) for place in range(most)]
