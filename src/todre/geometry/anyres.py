"""Thumbnail and crops: LLaVA-NeXT, LLaVA-NeXT-Video and LLaVA-OneVision.

The model looks twice: at a thumbnail (the whole picture squeezed into one square), and at crops (the picture scaled
into the best of several canvases, padded, cut into squares). Tokens of the padding are taken out again, and each row
of crop tokens ends in a newline token. The sequence is the thumbnail's grid, then the rows of crops with their
newlines (Liu et al. 2024).

LLaVA-OneVision (Li et al., 2024) scales the grid over all crops down where the grid is larger than `anyres_max_9`
allows. If a prompt has several pictures, the model looks once at each; it looks once at each frame of a clip, at half
the resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from todre.errors import UnsupportedModelError
from todre.geometry.boxes import ClipShape, Picture, TokenBox, View
from todre.geometry.grid import class_tokens, frame_grids, patch
from todre.geometry.source import Layout, Settings, Source
from todre.geometry.steps import blank, centre_crop, pad_to_square, resize, resize_and_crop, square
from todre.hf.picture_rules import ChannelDimension, best_canvas, size_within_canvas, without_padding


class AnyRes(Layout):
    """Layout of LLaVA-NeXT: a thumbnail's grid, then a grid over all crops.

    The crops' grid has no padding, and each of its rows ends in a newline token.
    """

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of the thumbnail, then of the rows of crops."""
        _check_classes(source)
        settings = source.images
        tile = _tile(settings)
        thumbnail = _tower_view(source.view.resized(tile, tile), settings)
        return thumbnail.cells("thumbnail", patch(source)) + self._crops(source, tile)

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of tokens of the thumbnail and of the rows of crops with their newlines."""
        _check_classes(source)
        settings = source.images
        tile, side = _tile(settings), _side(source)
        thumbnail = _tower_view(source.view.resized(tile, tile), settings)
        height, width = _best(source)
        unpadded = _unpadded(source, height // tile * side, width // tile * side)
        rows, columns = self.grid(source, *unpadded)
        return thumbnail.count(patch(source)) + rows * (columns + 1)

    def count(self, source: Source) -> tuple[int, int]:
        """(visual tokens, tiles): thumbnail and crops, newlines included."""
        tile, side = square(source.config.vision_config.image_size), _side(source)
        height, width = _best(source)
        unpadded = _unpadded(source, height // tile * side, width // tile * side)
        rows, columns = self.grid(source, *unpadded)
        return side**2 + rows * (columns + 1), 1 + (height // tile) * (width // tile)

    def _crops(self, source: Source, tile: int) -> list[TokenBox]:
        canvas = _Canvas.of(source, tile)
        rows, columns = self.grid(source, canvas.rows, canvas.columns)
        boxes = []
        for row in range(rows):
            boxes += canvas.line(row, rows, columns)
        return boxes

    def grid(self, source: Source, rows: int, columns: int) -> tuple[int, int]:
        """(rows, columns) of the crops' grid: LLaVA-NeXT keeps all without padding."""
        return rows, columns


class AnyResVideo(AnyRes):
    """Layout of LLaVA-NeXT-Video: pictures as in LLaVA-NeXT, frames pooled.

    A frame's token covers `spatial_pool_stride` squared patches; frames have no newlines.
    """

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of one pooled grid for each frame."""
        return frame_grids(source, clip, patch(source) * int(source.config.spatial_pool_stride))


class OneVision(AnyRes):
    """Layout of LLaVA-OneVision."""

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes as in LLaVA-NeXT if the prompt has one picture.

        If the prompt has several pictures, each has one grid and one newline.
        """
        if source.pictures == 1:
            return super().picture(source, picture)
        view = resize_and_crop(pad_to_square(source.view), source.images)
        return [*view.cells("grid", patch(source)), view.newline()]

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of tokens as in LLaVA-NeXT, or of one grid and one newline."""
        if source.pictures == 1:
            return super().tokens(source, picture)
        return resize_and_crop(pad_to_square(source.view), source.images).count(patch(source)) + 1

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of each frame's grid at half the resolution, and one newline at the end."""
        side = _side(source)
        half = math.ceil(side / 2)
        edges = [index * side / half * patch(source) for index in range(half + 1)]
        boxes = []
        for frame in range(clip.frames):
            boxes += resize_and_crop(source.view.at(frame), source.videos).cut("grid", edges, edges)
        return [*boxes, source.view.at(clip.frames - 1).newline()]

    def grid(self, source: Source, rows: int, columns: int) -> tuple[int, int]:
        """(rows, columns) of the crops' grid, scaled down to about `anyres_max_N` tiles."""
        most = int(source.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(rows * columns / (most * _side(source) ** 2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


@dataclass(frozen=True)
class _Canvas:
    """A picture on its best canvas, with the grid of cells that tokens cover.

    Attributes:
        view: the picture on the canvas.
        settings: settings of the image processor.
        tile: pixels along one side of a tile.
        side: cells along one side of a tile.
        patch: pixels along one side of a cell, in the tower's view.
        rows, columns: size of the grid in cells after the padding is taken out.
        top, left: rows and columns of padding that were taken out above and to the left of the grid.
    """

    view: View
    settings: Settings
    tile: int
    side: int
    patch: int
    rows: int
    columns: int
    top: int
    left: int

    @staticmethod
    def of(source: Source, tile: int) -> _Canvas:
        """The canvas of a picture, chosen and freed of padding by transformers' rules."""
        view, side = source.view, _side(source)
        height, width = _best(source)
        new_height, new_width = size_within_canvas(blank(view), (height, width), ChannelDimension.FIRST)
        placed = view.resized(new_width, new_height)
        placed = placed.shifted(width, height, (width - new_width) // 2, (height - new_height) // 2)
        total = height // tile * side, width // tile * side
        rows, columns = _unpadded(source, *total)
        top, left = (total[0] - rows) // 2, (total[1] - columns) // 2
        return _Canvas(
            view=placed,
            settings=source.images,
            tile=tile,
            side=side,
            patch=patch(source),
            rows=rows,
            columns=columns,
            top=top,
            left=left,
        )

    @cached_property
    def _within(self) -> View:
        """The tower's view of a tile, placed in the tile's own pixels."""
        tile = Picture(self.tile, self.tile)
        return _tower_view(View.plain(0, tile), self.settings)

    def line(self, row: int, rows: int, columns: int) -> list[TokenBox]:
        """Boxes of one row of cells, and of the newline after it.

        Args:
            row: number of the row, from 0.
            rows, columns: size in cells that the grid was scaled to.
        """
        top, bottom = self._span(self.top, row * self.rows / rows, (row + 1) * self.rows / rows)
        boxes = []
        for column in range(columns):
            left, right = self._span(self.left, column * self.columns / columns, (column + 1) * self.columns / columns)
            boxes.append(self.view.box("crop", left, top, right, bottom))
        end = self.view.box("newline", 0.0, top, 0.0, bottom)
        return [*boxes, self.view.newline(end.top, end.bottom)]

    def _span(self, first: int, start: float, stop: float) -> tuple[float, float]:
        """Canvas pixels from cell `start` to cell `stop`.

        Cells are counted after the `first` cells of padding.
        """
        tiles = math.floor(start + first) // self.side, math.ceil(stop + first - 1) // self.side
        edges = [
            tile * self.tile + self._within.x.source((cell + first - tile * self.side) * self.patch)
            for tile, cell in zip(tiles, (start, stop), strict=True)
        ]
        return edges[0], edges[1]


def _check_classes(source: Source) -> None:
    """Raise if class tokens are among the visual tokens."""
    if class_tokens(source) != 0:
        raise UnsupportedModelError(
            "LLaVA-NeXT with class tokens among its visual tokens has no known geometry; "
            'use vision_feature_select_strategy="default".'
        )


def _best(source: Source) -> tuple[int, int]:
    """(height, width) in pixels of the best canvas for a picture."""
    size = source.view.height, source.view.width
    height, width = best_canvas(size, source.config.image_grid_pinpoints)
    return height, width


def _unpadded(source: Source, rows: int, columns: int) -> tuple[int, int]:
    """(rows, columns) of a grid over all crops after its padding is taken out.

    The model's own rule decides; opposite sides lose equally much.
    """
    united = torch.empty(1, rows, columns, device="meta", dtype=torch.float32)
    left = without_padding(united, (source.view.height, source.view.width))
    return left.shape[1], left.shape[2]


def _tile(settings: Settings) -> int:
    """Pixels along one side of a tile of the canvas."""
    crop, size = settings.get("crop_size"), dict(settings.size)
    return square(crop) if crop else int(size.get("height") or size["shortest_edge"])


def _tower_view(view: View, settings: Settings) -> View:
    """The tower's view of a tile: the tile resized and cropped once more."""
    view = resize(view, settings.size)
    return centre_crop(view, settings) if settings.get("do_center_crop", False) else view


def _side(source: Source) -> int:
    """Patches along one side of a tile."""
    return square(source.config.vision_config.image_size) // patch(source)
