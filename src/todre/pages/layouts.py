"""Where the texts of a page stand: a cell of a grid for each, by layout.

A cell is 48 × 32 pixels, so that a plate of the size that scenes have fits into it, and no plate is cut by the border
between two crops of 96 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from todre.pages.contents import Text
from todre.pages.entries import Entry
from todre.scenes import SceneObject

CELL_WIDTH, CELL_HEIGHT = 48, 32
Cell = tuple[int, int]
"""(line, place) in the grid, from 0."""
Placing = Callable[[Sequence[Text], str, int], list[Cell]]


def lay_out(
    rng: np.random.Generator, texts: Sequence[Text], kind: str, layout: str, across: int, down: int
) -> tuple[Entry, ...]:
    """The entries of a page, each at a jittered place in its cell, in reading order.

    Args:
        rng: decides jitter, plate sizes, and how far down the page begins.
        texts: what `sample_texts` returned for the same kind and grid.
        kind, layout: names from `todre.pages.vocabulary`.
        across, down: size of the grid in cells.
    """
    cells = _PLACINGS[kind](texts, layout, across)
    spare = down - 1 - max(line for line, _ in cells)
    offset = int(rng.integers(spare + 1))
    heights = rng.random(down)
    placed = sorted(
        zip([(line + offset, place) for line, place in cells], texts, strict=True), key=lambda pair: pair[0]
    )
    plates = (_plate(rng, text.text, cell, float(heights[cell[0]])) for cell, text in placed)
    return tuple(
        Entry(role=text.role, row=text.row, column=text.column, thing=plate)
        for (_, text), plate in zip(placed, plates, strict=True)
    )


def _plate(rng: np.random.Generator, text: str, cell: Cell, height: float) -> SceneObject:
    """A plate as scenes have it: a disc for a digit, a rectangle for a word.

    Args:
        rng: decides size and place within the cell.
        text: the digit or the word.
        cell: where it stands.
        height: from 0 (the plates of this line stand at the top of their cells) to 1 (at the bottom).
    """
    kind = "digit" if text.isdigit() else "word"
    scale = float(rng.uniform(1.9, 2.2))
    radius = float(rng.uniform(14.0, 15.5))
    half_width, half_height = (radius, radius) if kind == "digit" else (10.5 * scale, 5.5 * scale)
    line, place = cell
    x = float(rng.uniform(place * CELL_WIDTH + half_width, (place + 1) * CELL_WIDTH - half_width))
    y = line * CELL_HEIGHT + half_height + height * (CELL_HEIGHT - 2 * half_height)
    return SceneObject(kind=kind, x=x, y=y, half_width=half_width, half_height=half_height, text=text)


def _paragraph(texts: Sequence[Text], layout: str, across: int) -> list[Cell]:
    """Lines of words, flush left or right.

    Lines begin at the left edge ("left"), end at the right edge ("right"), or the first one is moved in ("indented").
    """
    cells = []
    for line, words in groupby(texts, key=lambda text: text.row):
        length = len(list(words))
        room = across - length
        start = {"left": 0, "right": room, "indented": min(room, 1) if line == 0 else 0}[layout]
        cells += [(line, start + place) for place in range(length)]
    return cells


def _table(texts: Sequence[Text], layout: str, across: int) -> list[Cell]:
    """A header, labels, and cells.

    The header is on top, or below the rows ("header-bottom"). Labels stand left of the cells, or right of them
    ("labels-right").
    """
    rows = 1 + max(text.row for text in texts)
    columns = 1 + max(text.column for text in texts)
    header, first = (rows, 0) if layout == "header-bottom" else (0, 1)
    label, left = (columns, 0) if layout == "labels-right" else (0, 1)
    return [
        (header if text.row < 0 else first + text.row, label if text.column < 0 else left + text.column)
        for text in texts
    ]


def _receipt(texts: Sequence[Text], layout: str, across: int) -> list[Cell]:
    """A line for each item.

    Prices stand beside the items ("near"), at the right edge ("justified"), or before the items ("prices-first").
    """
    item, price = {"near": (0, 1), "justified": (0, across - 1), "prices-first": (1, 0)}[layout]
    return [(text.row, item if text.role == "item" else price) for text in texts]


def _form(texts: Sequence[Text], layout: str, across: int) -> list[Cell]:
    """Values beside or under their labels.

    They stand next to them ("beside", two fields on a line where these fit), at the right edge ("wide"), or under them
    ("below").
    """
    cells = []
    for text in texts:
        value = text.role == "value"
        if layout == "below":
            line, place = divmod(text.row, across)
            cells.append((2 * line + value, place))
        elif layout == "wide":
            cells.append((text.row, (across - 1) * value))
        else:
            line, pair = divmod(text.row, across // 2)
            cells.append((line, 2 * pair + value))
    return cells


_PLACINGS: dict[str, Placing] = {"paragraph": _paragraph, "table": _table, "receipt": _receipt, "form": _form}
