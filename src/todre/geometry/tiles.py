"""Square tiles and one look at the whole picture: InternVL, Llama 4, SmolVLM, ….

The picture is scaled onto a canvas of tiles; the tower sees each tile by itself, and the whole picture in one more
look, before or after the tiles. The projector stacks k × k patches ("pixel shuffle") or averages them, so a token is a
cell of k × k patches. Tokens of a tile follow each other, tiles go in reading order; text between tiles is not visual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from todre.errors import UnsupportedModelError
from todre.geometry.boxes import ClipShape, Kind, Picture, TokenBox, View
from todre.geometry.canvases import Canvas, Frame, by_aspect_ratio, whole_tile
from todre.geometry.grid import Fact
from todre.geometry.source import Layout, Source


@dataclass(frozen=True)
class Tiles(Layout):
    """Layout of the tiles of a canvas and the whole picture.

    Attributes:
        cell: pixels of a tile along one side of a token.
        canvas: rule by which the picture is laid out in tiles.
        whole: rule for the look at the whole picture, which has the size of a tile except in LFM2-VL.
        thumbnail: whether the look at the whole picture comes "first" or "last".
        lone_thumbnail: whether a picture of a single tile has a look at the whole picture too.
        frame: rule by which a clip's frames are scaled; None for a family that reads no clips.
    """

    cell: Fact
    canvas: Canvas = by_aspect_ratio
    whole: Frame = whole_tile
    thumbnail: Literal["first", "last"] = "last"
    lone_thumbnail: bool = False
    frame: Frame | None = None

    def picture(self, source: Source, picture: Picture) -> list[TokenBox]:
        """Boxes of the tiles in reading order, with the whole picture before or after.

        Where the family's rule says so, the picture has a single look.
        """
        settings, cell = source.images, self.cell(source)
        whole, canvas = self.whole(source.view, settings), self.canvas(source.view, settings)
        if canvas is None:
            return _cells(whole, "grid", cell)
        tile = self._tile(source, whole)
        crops = canvas.tiles("crop", (tile, tile), cell)
        if (canvas.width, canvas.height) == (tile, tile) and not self.lone_thumbnail:
            return _cells(canvas, "grid", cell)
        if not settings.get("use_thumbnail", True):
            return crops
        thumbnail = _cells(whole, "thumbnail", cell)
        return crops + thumbnail if self.thumbnail == "last" else thumbnail + crops

    def tokens(self, source: Source, picture: Picture) -> int:
        """Number of tokens of the tiles and of the look at the whole picture."""
        settings, cell = source.images, self.cell(source)
        whole, canvas = self.whole(source.view, settings), self.canvas(source.view, settings)
        if canvas is None:
            return whole.count(cell)
        tile = self._tile(source, whole)
        tiles = -(-canvas.width // tile) * -(-canvas.height // tile) * (tile // cell) ** 2
        if (canvas.width, canvas.height) == (tile, tile) and not self.lone_thumbnail:
            return canvas.count(cell)
        return tiles + (whole.count(cell) if settings.get("use_thumbnail", True) else 0)

    def _tile(self, source: Source, whole: View) -> int:
        tile = int(source.images.get("tile_size", whole.width))
        _check(tile, self.cell(source))
        return tile

    def clip(self, source: Source, clip: ClipShape) -> list[TokenBox]:
        """Boxes of one look at each frame."""
        if self.frame is None:
            return super().clip(source, clip)
        boxes = []
        for frame in range(clip.frames):
            boxes += _cells(self.frame(source.view.at(frame), source.videos), "grid", self.cell(source))
        return boxes


def _cells(view: View, kind: Kind, cell: int) -> list[TokenBox]:
    for side in (view.width, view.height):
        _check(side, cell)
    return view.cells(kind, cell)


def _check(side: int, cell: int) -> None:
    if side % cell:
        raise UnsupportedModelError(
            f"A tile of {side} pixels is no whole number of visual tokens of {cell} pixels, so their places are not "
            "known; set the processor's tile size to the one the model was made for."
        )
