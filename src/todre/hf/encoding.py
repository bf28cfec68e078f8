"""One encoding call: the facts by which a layout describes its visual tokens."""

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
        arguments: the method's arguments, by name.
        lengths: number of visual tokens of each entry that the method returned.
        signals: for each call of the watched tower, (tiles, patches, c) float32 with all signals side by side; empty if
            no tower was watched.
        widths: how many of the c channels belong to each signal, in order.
        leading: tower tokens before the patches ([CLS], registers).
        discard_count: number of first tower tokens that the model leaves out of the visual tokens.
        device: device of the encoded features.
    """

    base: Any
    config: Any
    arguments: dict[str, Any]
    lengths: list[int]
    signals: list[Tensor]
    widths: dict[Signal, int]
    leading: int
    discard_count: int
    device: torch.device

    @property
    def extra(self) -> int:
        """Leading tokens among the visual tokens; negative if patches are left out."""
        return self.leading - self.discard_count

    @property
    def channels(self) -> int:
        """c, the channels of all signals together."""
        return sum(self.widths.values())

    def tiles(self) -> list[Tensor]:
        """The signals of each tile, (tokens, c)."""
        return [tile for call in self.signals for tile in call]

    def stream(self) -> Tensor | None:
        """The signals of a tower that packs its media into one sequence, (tokens, c)."""
        return torch.cat([call.flatten(0, 1) for call in self.signals]).to(self.device) if self.signals else None

    def unknown(self, n: int) -> Tensor:
        """NaN in place of signals that are not known, (n, c)."""
        return torch.full((n, self.channels), torch.nan, device=self.device, dtype=torch.float32)

    def facts(
        self, values: Tensor | None, place: Place, frame: Tensor | None = None, tile: Tensor | None = None
    ) -> TokenFacts:
        """Token facts of one entry with n visual tokens.

        Args:
            values: (n, c) signals, or None where they are not known.
            place: row and column of each token.
            frame: (n,) int64 frame of each token; None means 0.
            tile: (n,) int64 tile of each token; None means 0.
        """
        n = len(place.row)
        zero = torch.zeros(n, dtype=torch.long, device="cpu")
        channels = self.unknown(n) if values is None else values.float()
        parts = channels.split(list(self.widths.values()), dim=1) if self.widths else ()
        signals = {
            request: part if request.kind == "keys" else part[:, 0]
            for request, part in zip(self.widths, parts, strict=True)
            if request.kind != "grid"
        }
        known = bool(self.signals) and values is not None
        return TokenFacts(signals, zero if tile is None else tile, zero if frame is None else frame, place, known)


Layout = Callable[[Encoding], list[TokenFacts]]
"""A function that describes the visual tokens of each entry of an encoding call."""


def pool_square(values: Tensor, n: int) -> Tensor | None:
    """Tower tokens averaged to a square grid, (n, c); None if t or n is no square.

    Args:
        values: (t, c), t tower tokens in raster order.
        n: visual tokens to pool to.
    """
    tower, side = math.isqrt(len(values)), math.isqrt(n)
    if n == len(values) or not values.shape[1]:
        return values[:n] if n == len(values) else values.new_zeros(n, 0)
    if side * side != n or tower * tower != len(values):
        return None
    square = values.T.reshape(1, -1, tower, tower)
    return functional.adaptive_avg_pool2d(square, (side, side))[0].flatten(1).T


def square_place(n: int) -> Place:
    """Places of `n` tokens in a square raster; unknown places if n is no square."""
    side = math.isqrt(n)
    return Place.raster(side, side) if side * side == n else Place.unknown(n)
