"""True labels of visual tokens: the word or digit that each patch of a page shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from todre.pages.layouts import CELL_HEIGHT, CELL_WIDTH
from todre.pages.page import Page
from todre.scenes.vocabulary import DIGITS, WORDS

TILE, PATCH = 96, 8
"""Sides in pixels of a crop, as of the thumbnail, and of a patch."""
GRID = TILE // PATCH
GROUPS: dict[str, int] = {"word": len(WORDS), "digit": len(DIGITS), "line": 192 // CELL_HEIGHT, "column": 4}
"""Label group → number of classes.

−1 marks a patch to which a group does not apply: one of bare paper has none, and a word is no digit.
"""
_MIN_SHARE = 0.12


def tile_labels(page: Page) -> NDArray[np.int64]:
    """(1 + crops, 144, 4) classes of the patches of thumbnail and crops.

    The classes are in the order of `GROUPS`. A patch shows the word or digit whose plate has most pixels in it, if
    these are at least 12 % of the patch. Line and column are the plate's place in the page's grid of 48 × 32 pixels.
    Crops go from left to right, then down, as image processors cut them.
    """
    table = np.array([[-1] * len(GROUPS), *(_classes(page, place) for place in range(len(page.entries)))])
    width, height = page.size
    fine = table[patch_owners(page, height // PATCH, width // PATCH)]
    across, down = width // TILE, height // TILE
    crops = fine.reshape(down, GRID, across, GRID, -1).transpose(0, 2, 1, 3, 4).reshape(down * across, GRID * GRID, -1)
    thumbnail = table[patch_owners(page, GRID, GRID)].reshape(1, GRID * GRID, -1)
    return np.concatenate([thumbnail, crops])


def _classes(page: Page, place: int) -> list[int]:
    entry = page.entries[place]
    word, digit = (-1, DIGITS.index(entry.text)) if entry.is_number else (WORDS.index(entry.text), -1)
    return [word, digit, int(entry.thing.y // CELL_HEIGHT), int(entry.thing.x // CELL_WIDTH)]


def patch_owners(page: Page, rows: int, columns: int) -> NDArray[np.int64]:
    """(rows, columns) number of the entry that each cell shows, or 0 for none.

    Numbers count the page's entries from 1.

    Args:
        page: the page.
        rows, columns: numbers of cells that the page is cut into; they divide its height and width.
    """
    height, width = page.owners.shape
    boxes = page.owners.reshape(rows, height // rows, columns, width // columns).transpose(0, 2, 1, 3)
    cells = boxes.reshape(rows, columns, -1)
    shares = np.stack([(cells == number).mean(axis=-1) for number in range(1, len(page.entries) + 1)], axis=-1)
    return np.where(shares.max(axis=-1) >= _MIN_SHARE, shares.argmax(axis=-1) + 1, 0)
