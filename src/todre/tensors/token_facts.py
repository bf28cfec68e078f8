"""Facts about each visual token, known while a picture or clip is encoded: signals of the tower, tile, frame, place."""

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
    """Something that a method wants to know of the vision tower, for each visual token.

    Attributes:
        kind: `cls`: attention of the [CLS] token; `received`: mean attention received; `auto`: the first of these that
            the vision tower offers, or none; `keys`: keys, averaged over heads; `grid`: nothing but where in its raster
            a token stands.
        layer: the tower's layer, counted as Python does; a fraction is of its depth, rounded down.
    """

    kind: Literal["cls", "received", "auto", "keys", "grid", "alive"]
    layer: TowerLayer = -1


ALIVE = Signal("alive")
"""Where a token of the tower is still there after a reduction inside the tower: above 0 if any part of it is."""


@dataclass(frozen=True)
class Place:
    """Where in its raster each token stands.

    Attributes:
        row, column: (n,) int64 within a thumbnail, the united crops of a picture, or a frame; -1 where not known. On
            the host.
    """

    row: Tensor
    column: Tensor

    @classmethod
    def unknown(cls, n: int) -> Place:
        """Tokens that stand in no raster."""
        nowhere = torch.full((n,), -1, dtype=torch.long, device="cpu")
        return cls(nowhere, nowhere)

    @classmethod
    def raster(cls, rows: int, columns: int) -> Place:
        """Tokens of one raster, row by row."""
        index = torch.arange(rows * columns, dtype=torch.int64, device="cpu")
        return cls(index // max(columns, 1), index % max(columns, 1))

    @classmethod
    def cat(cls, places: list[Place]) -> Place:
        """One after the other."""
        return cls(torch.cat([place.row for place in places]), torch.cat([place.column for place in places]))


@dataclass(frozen=True)
class TokenFacts:
    """Per visual token of one medium as the model encodes it (a picture, a tile or a clip), in sequence order.

    Signals are on the device of the features; all else follows from sizes and is on the host.

    Attributes:
        signals: by request, (n,) or (n, c) float32; NaN at newline tokens and where nothing is known.
        tile: (n,) int64, 0 for the thumbnail or the only tile, 1.. for crops; -1 at newline tokens.
        frame: (n,) int64, the step in time of a clip's tokens, from 0; -1 at tokens of no single frame; 0 in pictures.
        place: where each token stands in its raster.
        known: whether signals are known of it at all.
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
        """(n,) bool."""
        return self.tile < 0

    @property
    def saliency(self) -> Tensor:
        """(n,) float32, the first signal of one number per token; NaN if there is none."""
        for values in self.signals.values():
            if values.ndim == 1:
                return values
        return torch.full((len(self),), torch.nan, dtype=torch.float32, device="cpu")

    def take(self, part: Tensor) -> TokenFacts:
        """The tokens at `part`, int64 on the host."""
        signals = {request: values[upload(part, values.device)] for request, values in self.signals.items()}
        place = Place(self.place.row[part], self.place.column[part])
        return TokenFacts(signals, self.tile[part], self.frame[part], place, self.known)
