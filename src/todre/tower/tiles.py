"""Tiles: how pictures were cut before the vision tower, and checks of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.anyres import crop_grid, picture_sizes, tiles_per_picture
from todre.methods.views.vision_tower import Cut


def cuts_of(config: Any, arguments: dict[str, Any]) -> list[Cut]:
    """The cuts of the pictures of one encoding call into tiles (LLaVA-NeXT and kin).

    Args:
        config: the model's config.
        arguments: the encoding method's arguments, by name.
    """
    cuts = []
    for size, tiles in zip(picture_sizes(arguments), tiles_per_picture(config, arguments), strict=True):
        height, width = (int(side) for side in size)
        rows, columns = crop_grid(size, config) if tiles > 1 else (0, 0)
        cuts.append(Cut(rows, columns, height, width))
    return cuts


def in_thumbnail(cut: Cut, side: int) -> Tensor:
    """Thumbnail tokens at the middle of each crop token, (crops, side²) int64.

    Args:
        cut: how the picture was cut.
        side: tokens along each side of a tile.
    """
    fine = side * 16  # sixteenths of a token, so that rounding the picture's size to whole ones hardly matters
    top, left, height, width = cut.content(fine)

    def along(tiles: int, start: int, length: int) -> Tensor:
        middle = (torch.arange(tiles * side, dtype=torch.float32, device="cpu") * 16 + 8 - start) / length
        return (middle * side).long().clamp(0, side - 1)

    row, column = along(cut.rows, top, height), along(cut.columns, left, width)
    whole = row[:, None] * side + column
    return whole.view(cut.rows, side, cut.columns, side).transpose(1, 2).reshape(-1, side**2)


def check_tiles(pixels: Any, cuts: list[Cut]) -> Tensor:
    """The tiles, checked against the cuts of the pictures.

    Raises:
        UnsupportedInputError: the tiles do not match the cuts.
    """
    expected = sum(cut.tiles for cut in cuts)
    if not isinstance(pixels, Tensor) or pixels.ndim != 4 or len(pixels) != expected:
        raise UnsupportedInputError(
            f"The vision tower was not given the {expected} tiles that the pictures' sizes make, so crops cannot be "
            "told from thumbnails; pass pictures and sizes from one call of the processor."
        )
    return pixels
