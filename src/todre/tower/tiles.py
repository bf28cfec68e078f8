"""How pictures were cut into tiles before the vision tower, and what a thumbnail already shows of each crop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from todre.errors import UnsupportedInputError
from todre.hf.visual_layouts import tiles_per_picture


@dataclass(frozen=True)
class Cut:
    """How one picture was cut: the first of its tiles is the thumbnail, its crops follow row by row.

    Attributes:
        rows, columns: of the crops; 0 where the picture was not cut.
        height, width: of the picture, in pixels of its own.
    """

    rows: int
    columns: int
    height: int
    width: int

    @property
    def tiles(self) -> int:
        """The thumbnail and the crops."""
        return 1 + self.rows * self.columns

    def content(self, side: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the picture within the crops put together, whose rest is padding.

        It was resized to touch two opposite edges, and put into the middle, as transformers' AnyRes processors do.

        Args:
            side: of a crop, in the unit to answer in.
        """
        canvas_height, canvas_width = self.rows * side, self.columns * side
        by_height, by_width = canvas_height / self.height, canvas_width / self.width
        if by_width < by_height:
            height, width = min(math.ceil(self.height * by_width), canvas_height), canvas_width
        else:
            height, width = canvas_height, min(math.ceil(self.width * by_height), canvas_width)
        return (canvas_height - height) // 2, (canvas_width - width) // 2, height, width


@dataclass(frozen=True)
class Tiles:
    """The tiles of all pictures of one call of a vision tower, before its first layer.

    Attributes:
        pixels: (t, channels, side, side), normalised.
        cuts: of each picture; their tiles stand one after the other.
    """

    pixels: Tensor
    cuts: list[Cut]

    def beyond_thumbnail(self) -> list[Tensor]:
        """For each picture, (crops,) float32: how far each crop is from what its thumbnail shows there.

        The root of the mean over a crop's numbers of the squared difference to the thumbnail, enlarged bilinearly to
        where the picture lies in the crops; padding counts as no difference. On the scale of normalised pixels.
        """
        found, start = [], 0
        for cut in self.cuts:
            mine = self.pixels[start : start + cut.tiles].float()
            found.append(_beyond(mine[0], mine[1:], cut))
            start += cut.tiles
        return found


def _beyond(thumbnail: Tensor, crops: Tensor, cut: Cut) -> Tensor:
    if not len(crops):
        return crops.new_zeros(0)
    channels, side = crops.shape[1], crops.shape[-1]
    top, left, height, width = cut.content(side)
    canvas = crops.view(cut.rows, cut.columns, channels, side, side).permute(2, 0, 3, 1, 4)
    canvas = canvas.reshape(channels, cut.rows * side, cut.columns * side)
    enlarged = functional.interpolate(thumbnail[None], size=(height, width), mode="bilinear", antialias=True)[0]
    difference = torch.zeros_like(canvas)
    inside = (slice(None), slice(top, top + height), slice(left, left + width))
    difference[inside] = canvas[inside] - enlarged
    squared = difference.square().view(channels, cut.rows, side, cut.columns, side).mean(dim=(0, 2, 4))
    return squared.flatten().sqrt()


def cuts_of(config: Any, arguments: dict[str, Any]) -> list[Cut]:
    """How the pictures of one call of `get_image_features` were cut (LLaVA-NeXT and its kin).

    Args:
        config: the model's.
        arguments: what the method was given, by name.
    """
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    sizes = arguments["image_sizes"]
    cuts = []
    for size, tiles in zip(sizes, tiles_per_picture(config, arguments), strict=True):
        height, width = (int(side) for side in size)
        rows, columns = 0, 0
        if tiles > 1:
            rows, columns = get_anyres_image_grid_shape(
                size, config.image_grid_pinpoints, config.vision_config.image_size
            )
        cuts.append(Cut(int(rows), int(columns), height, width))
    return cuts


def in_thumbnail(cut: Cut, side: int) -> Tensor:
    """(crops, side²) int64: the token of the thumbnail that lies where the middle of each of the crops' tokens does.

    Args:
        side: tokens along each side of a tile, the thumbnail's or a crop's.
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
    """The tiles, if they are those of the pictures.

    Raises:
        UnsupportedInputError: they are not.
    """
    expected = sum(cut.tiles for cut in cuts)
    if not isinstance(pixels, Tensor) or pixels.ndim != 4 or len(pixels) != expected:
        raise UnsupportedInputError(
            f"The vision tower was not given the {expected} tiles that the pictures' sizes make, so crops cannot be "
            "told from thumbnails; pass pictures and sizes from one call of the processor."
        )
    return pixels
