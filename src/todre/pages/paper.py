"""The empty page: a tone with faint noise, and panels behind a form's fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from todre.pages.entries import Entry
from todre.pages.layouts import CELL_HEIGHT, CELL_WIDTH

_TONES = (120.0, 200.0)
_PANEL = 22.0
"""How much darker a field's panel is than the paper, of 255."""


def paint_paper(rng: np.random.Generator, kind: str, entries: Sequence[Entry], width: int, height: int) -> Image.Image:
    """The page without its plates, RGB.

    Args:
        rng: decides tone and noise.
        kind: of the page; a form gets panels, which tell what value belongs to what label.
        entries: everything that will be drawn.
        width, height: size in pixels.
    """
    tone = rng.uniform(*_TONES) + rng.uniform(-8, 8, size=3)
    pixels = np.empty((height, width, 3))
    pixels[:] = tone
    if kind == "form":
        for number in {entry.row for entry in entries}:
            _shade(pixels, [entry for entry in entries if entry.row == number])
    noise = rng.standard_normal(size=(height, width, 1), dtype=np.float32) * np.float32(rng.uniform(0.5, 3.0))
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _shade(pixels: NDArray[np.float64], field: Sequence[Entry]) -> None:
    """Darken the cells of a field, up to a rim of 1 pixel."""
    lines = [int(entry.thing.y // CELL_HEIGHT) for entry in field]
    places = [int(entry.thing.x // CELL_WIDTH) for entry in field]
    top, bottom = min(lines) * CELL_HEIGHT + 1, (max(lines) + 1) * CELL_HEIGHT - 1
    left, right = min(places) * CELL_WIDTH + 1, (max(places) + 1) * CELL_WIDTH - 1
    pixels[top:bottom, left:right] -= _PANEL
