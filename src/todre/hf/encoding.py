"""x"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from todre.tensors.token_facts import Place, Signal, TokenFacts


@dataclass(frozen=True)
class Encoding:
    """One call of `get_image_features` or `get_video_features`.

    Attributes:
        base: the module whose method was called.
        config: the model's config.
        arguments: what the method was given, by name.
        lengths: visual tokens of each entry that came back.
        signals: (tiles, patches, c) float32 for each call of the watched tower, all signals side by side;
            empty if none was watched.
        widths: how many of the c belong to each signal, in order.
        leading: how many of the tower's tokens stand before its patches ([CLS], registers).
        discarded: how many of its first tokens the model leaves out of the visual tokens.
        device: of the features.
    """

    base: Any
    config: Any
    arguments: dict[str, Any]
    lengths: list[int]
    signals: list[Tensor]
    widths: dict[Signal, int]
    leading: int
    discarded: int
    device: torch.device

    @property
    def extra(self) -> int:
        """Tokens before the patches that stay among the visual tokens; below 0, so many first patches do not."""
        return self.leading - self.discarded

    @property
    def channels(self) -> int:
        """c, of all signals together."""
        return sum(self.widths.values())

    def tiles(self) -> list[Tensor]:
        """What was seen of each tile, (tokens, c)."""
        return [tile for call in self.signals for tile in call]

    def stream(self) -> Tensor | None:
        """What was seen of all tokens of a tower that packs its media into one sequence, (tokens, c)."""
        return torch.cat([call.flatten(0, 1) for call in self.signals]).to(self.device) if self.signals else None

    def unknown(self, n: int) -> Tensor:
        """(n, c) NaN."""
        return torch.full((n, self.channels), torch.nan, device=self.device, dtype=torch.float32)

    def facts(
        self, values: Tensor | None, place: Place, frame: Tensor | None = None, tile: Tensor | None = None
    ) -> TokenFacts:
        """Facts of one entry: `values` (n, c) or None, tokens of tile 0 and frame 0 unless said."""
        n = len(place.row)
        zero = torch.zeros(n, dtype=torch.long, device="cpu")
        told = self.unknown(n) if values is None else values.float()
        parts = told.split(list(self.widths.values()), dim=1) if self.widths else ()
        signals = {
            request: part if request.kind == "keys" else part[:, 0]
            for request, part in zip(self.widths, parts, strict=True)
            if request.kind != "grid"
        }
        known = bool(self.signals) and values is not None
        return TokenFacts(signals, zero if tile is None else tile, zero if frame is None else frame, place, known)


Layout = Callable[[Encoding], list[TokenFacts]]


def pool_square(values: Tensor, n: int) -> Tensor | None:
    """Means of a square grid of tower tokens (t, c) over the squares that make `n` tokens, (n, c); None if none do."""
    tower, side = math.isqrt(len(values)), math.isqrt(n)
    if n == len(values) or not values.shape[1]:
        return values[:n] if n == len(values) else values.new_zeros(n, 0)
    if side * side != n or tower * tower != len(values):
        return None
    square = values.T.reshape(1, -1, tower, tower)
    return functional.adaptive_avg_pool2d(square, (side, side))[0].flatten(1).T


def square_place(n: int) -> Place:
    """`n` tokens of a square raster, if they make one."""
    side = math.isqrt(n)
    return Place.raster(side, side) if side * side == n else Place.unknown(n)
