"""Facts about each visual token, known once its picture or clip is encoded.

The facts are signals of the vision tower, the tile, the frame, and the place in the raster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from todre.fields import Checked
from todre.fields.kinds import TowerLayer
from todre.tensors.transfer import upload

KINDS = ("image", "video")


@dataclass(frozen=True)
class Signal(Checked):
    """One quantity that a method reads from the vision tower for each visual token.

    Attributes:
        kind: `cls`, attention of the [CLS] token; `received`, mean attention received; `auto`, the first of these that
            the vision tower offers, or none; `keys`, keys averaged over heads; `grid`, no values, but rows and columns
            are made known; `alive`, whether the token survived a reduction inside the tower; `strokes`, share of the
            token's pixels that lie on thin strokes, such as those of letters.
        layer: Python index of the tower's layer (negative from the end), or a fraction of the depth, rounded down.
            Where most layers see only windows of a picture, as in Qwen2.5-VL, attention received is read in the nearest
            layer that sees all of it: within a window every token competes with its neighbours alone.
        even: whether attention received is told as a multiple of even attention, for methods that compare tokens of
            pictures of different sizes; otherwise it is a share of the picture's, which is larger in small pictures.
    """

    kind: Literal["cls", "received", "auto", "keys", "grid", "alive", "strokes"]
    layer: TowerLayer = -1
    even: bool = False


ALIVE = Signal("alive")
"""Request for the survival signal: above 0 where the tower left part of the token."""

STROKES = Signal("strokes")
"""Request for thin strokes, which are read from pixels and not from a layer."""


@dataclass(frozen=True)
class Place:
    """Row and column of each token in its raster, both 0-based.

    A raster is a thumbnail, the united crops of a picture, or a frame.

    Attributes:
        row, column: (n,) int64 on the host; -1 where unknown.
    """

    row: Tensor
    column: Tensor

    @classmethod
    def unknown(cls, n: int) -> Place:
        """`n` tokens whose place is unknown."""
        nowhere = torch.full((n,), -1, dtype=torch.long, device="cpu")
        return cls(nowhere, nowhere)

    @classmethod
    def raster(cls, rows: int, columns: int) -> Place:
        """All tokens of one raster, row by row."""
        index = torch.arange(rows * columns, dtype=torch.int64, device="cpu")
        return cls(index // max(columns, 1), index % max(columns, 1))

    @classmethod
    def cat(cls, places: list[Place]) -> Place:
        """Concatenation of `places`, in order."""
        return cls(torch.cat([place.row for place in places]), torch.cat([place.column for place in places]))


@dataclass(frozen=True)
class TokenFacts:
    """Facts about the visual tokens of one medium, in sequence order.

    A medium is a picture, a tile or a clip that the model encodes as one unit. Signals are on the device of the
    features; all other tensors follow from sizes and are on the host.

    Attributes:
        signals: values of each requested signal, (n,) or (n, c) float32; NaN at newline tokens and where unknown.
        tile: (n,) int64, 0 for the thumbnail or the only tile, 1.. for crops; -1 at newline tokens.
        frame: (n,) int64, 0-based step in time of a clip's tokens; -1 at tokens that belong to no single frame; 0 in
            pictures.
        place: where each token stands in its raster.
        known: whether signals of this medium are known.
    """

    signals: Mapping[Signal, Tensor]
    tile: Tensor
    frame: Tensor
    place: Place
    known: bool = True

    def __len__(self) -> int:
        return int(self.tile.shape[0])

    @property
    def newline(self) -> Tensor:
        """Newline tokens, (n,) bool."""
        return self.tile < 0

    @property
    def saliency(self) -> Tensor:
        """The first signal of the tower with one number per token, (n,) float32.

        NaN if there is none.
        """
        for request, values in self.signals.items():
            if values.ndim == 1 and request != STROKES:
                return values
        return torch.full((len(self),), torch.nan, dtype=torch.float32, device="cpu")

    def take(self, part: Tensor) -> TokenFacts:
        """The tokens at `part`, (m,) int64 on the host."""
        signals = {request: values[upload(part, values.device)] for request, values in self.signals.items()}
        place = Place(self.place.row[part], self.place.column[part])
        return TokenFacts(signals, self.tile[part], self.frame[part], place, self.known)
