"""Rectangles of original pixels, and the tower's views of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from todre.errors import InvalidValueError

Kind = Literal["grid", "thumbnail", "crop", "newline", "class"]


@dataclass(frozen=True)
class Picture:
    """A picture of the prompt: its width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class ClipShape:
    """A clip of the prompt: its size in pixels, and its number of sampled frames.

    Raises:
        InvalidValueError: no frame was sampled.
    """

    width: int
    height: int
    frames: int

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InvalidValueError(f"A clip has {self.frames} sampled frames; sample at least one.")


Media = Picture | ClipShape


@dataclass(frozen=True)
class TokenBox:
    """The rectangle of original pixels behind a visual token, within the picture.

    Attributes:
        image: index (from 0) of the picture or clip among all of the prompt.
        kind: "grid" (the only look at a picture or frame), "thumbnail" (a look at the whole picture, beside looks at
            its parts), "crop" (a look at a part of the picture), "newline" (zero width, at the row's
            right end) or "class" (a [CLS] token, the whole picture).
        left, top, right, bottom: pixels of the original picture, right and bottom exclusive; an empty rectangle where
            the token saw nothing but padding.
        frame: index (from 0) of the first sampled frame that the token was made from; None for a picture.
        frames: number of consecutive frames that the token was made from.
    """

    image: int
    kind: Kind
    left: float
    top: float
    right: float
    bottom: float
    frame: int | None = None
    frames: int = 1

    @property
    def area(self) -> float:
        """Area of the rectangle in original pixels."""
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)


@dataclass(frozen=True)
class Axis:
    """An affine map along one axis: target = source · scale + shift."""

    scale: float = 1.0
    shift: float = 0.0

    def then(self, other: Axis) -> Axis:
        """The map that applies this map first, then `other`."""
        return Axis(self.scale * other.scale, self.shift * other.scale + other.shift)

    def source(self, target: float) -> float:
        """The source coordinate that is mapped to `target`."""
        return (target - self.shift) / self.scale


@dataclass(frozen=True)
class View:
    """A raster that the tower sees, and how it lies over a picture or clip.

    Attributes:
        image: index (from 0) of the picture or clip among all of the prompt.
        media: size of that picture or clip.
        width, height: size of the raster in pixels.
        x, y: maps from original pixels to pixels of the raster, along each axis.
        frame, frames: as in `TokenBox`.
    """

    image: int
    media: Media
    width: int
    height: int
    x: Axis = Axis()
    y: Axis = Axis()
    frame: int | None = None
    frames: int = 1

    @staticmethod
    def plain(image: int, media: Media) -> View:
        """A view of the picture as it is, without any processing."""
        return View(image, media, media.width, media.height)

    def at(self, frame: int, frames: int = 1) -> View:
        """This view, moved to other frames of the clip."""
        return View(self.image, self.media, self.width, self.height, self.x, self.y, frame, frames)

    def resized(self, width: int, height: int) -> View:
        """The raster scaled to another size."""
        return self._moved(width, height, Axis(width / self.width), Axis(height / self.height))

    def shifted(self, width: int, height: int, right: float, down: float) -> View:
        """A raster of another size, with the old raster's origin at (right, down).

        Positive offsets pad, negative ones crop.
        """
        return self._moved(width, height, Axis(1.0, right), Axis(1.0, down))

    def _moved(self, width: int, height: int, x: Axis, y: Axis) -> View:
        return View(self.image, self.media, width, height, self.x.then(x), self.y.then(y), self.frame, self.frames)

    def box(self, kind: Kind, left: float, top: float, right: float, bottom: float) -> TokenBox:
        """The box of original pixels behind a rectangle of the raster."""
        x = [min(max(self.x.source(edge), 0.0), float(self.media.width)) for edge in (left, right)]
        y = [min(max(self.y.source(edge), 0.0), float(self.media.height)) for edge in (top, bottom)]
        return TokenBox(self.image, kind, x[0], y[0], x[1], y[1], self.frame, self.frames)

    def cells(self, kind: Kind, cell: float) -> list[TokenBox]:
        """Boxes of the raster's square cells, in reading order.

        A strip at the right or lower edge that is narrower than a cell makes no token.
        """
        edges = [[index * cell for index in range(int(side // cell) + 1)] for side in (self.width, self.height)]
        return self.cut(kind, *edges)

    def count(self, cell: float) -> int:
        """Number of square cells, as `cells` makes them."""
        return int(self.width // cell) * int(self.height // cell)

    def cut(self, kind: Kind, columns: Sequence[float], rows: Sequence[float]) -> list[TokenBox]:
        """Boxes between consecutive column and row edges, in reading order."""
        return [
            self.box(kind, columns[across], rows[down], columns[across + 1], rows[down + 1])
            for down in range(len(rows) - 1)
            for across in range(len(columns) - 1)
        ]

    def tiles(self, kind: Kind, tile: tuple[int, int], cell: float) -> list[TokenBox]:
        """Boxes of the cells of each tile in turn.

        Tiles are in reading order, and cells are in reading order within each tile.

        Args:
            kind: kind of the boxes.
            tile: (width, height) of a tile in pixels of the raster.
            cell: side of a cell in pixels of the raster.
        """
        boxes = []
        for top in range(0, self.height, tile[1]):
            for left in range(0, self.width, tile[0]):
                columns = [left + index * cell for index in range(int(tile[0] // cell) + 1)]
                rows = [top + index * cell for index in range(int(tile[1] // cell) + 1)]
                boxes += self.cut(kind, columns, rows)
        return boxes

    def whole(self, kind: Kind) -> TokenBox:
        """The box of the whole picture or frame, such as a [CLS] token's."""
        return TokenBox(
            self.image, kind, 0.0, 0.0, float(self.media.width), float(self.media.height), self.frame, self.frames
        )

    def newline(self, top: float = 0.0, bottom: float | None = None) -> TokenBox:
        """The box of a token that closes a row, empty at the picture's right edge.

        Args:
            top, bottom: edges of the row in original pixels; None means the lower edge of the picture.
        """
        right, lower = float(self.media.width), float(self.media.height) if bottom is None else bottom
        return TokenBox(self.image, "newline", right, top, right, lower, self.frame, self.frames)
