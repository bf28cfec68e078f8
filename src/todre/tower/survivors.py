"""The tokens left in a vision tower, their places, and which merged into which.

All of it is pure tensors. A reduced tower runs on fewer tokens but hands on all of them: the place of a token that is
gone holds the value of the token it went into. So whatever needs the whole grid (a merger, pixel shuffle, unpadding)
works as before, and `alive` says which tokens are really there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.methods.views.vision_tower import Merging


@dataclass(frozen=True)
class Remaining:
    """The tokens that are left of t tiles with `full` tokens each, [CLS] included.

    Attributes:
        seats: (t, s) int64, the places of the tokens that are left, ascending.
        source: (t, full) int64, for each place the token (of the s) whose value it gets, -1 if none.
        size: (t, s) float32, how many tokens each token left stands for.
        proportional: True if attention weighs a token by its size.
        absent: (t, s) bool, tokens that count as gone; None if there are none.
        carried: (t, s) float32, what the method carries for each token; None if it carries nothing.
    """

    seats: Tensor
    source: Tensor
    size: Tensor
    proportional: bool = False
    absent: Tensor | None = None
    carried: Tensor | None = None

    @classmethod
    def all_tokens(cls, tiles: int, full: int, device: torch.device) -> Remaining:
        """The state before any reduction."""
        seats = torch.arange(full, device=device, dtype=torch.int64).expand(tiles, full)
        return cls(seats, seats, torch.ones(tiles, full, device=device, dtype=torch.float32))

    def to(self, device: torch.device) -> Remaining:
        """The same on another device."""
        absent = None if self.absent is None else self.absent.to(device)
        carried = None if self.carried is None else self.carried.to(device)
        places = self.seats.to(device), self.source.to(device), self.size.to(device)
        return Remaining(*places, self.proportional, absent, carried)

    def after(self, merging: Merging) -> Remaining:
        """The tokens that are left after `merging`.

        Raises:
            InvalidValueError: the method's answer contradicts itself.
        """
        keep, into = merging.keep, merging.into
        counts = keep.sum(dim=1)
        if keep.shape != self.seats.shape or int(counts.min()) != int(counts.max()) or not int(counts.min()):
            raise InvalidValueError(
                f"A method in the vision tower keeps {counts.tolist()} tokens of its tiles; "
                "keep as many in each, and at least one."
            )
        known = into.clamp(min=0)
        own = torch.arange(keep.shape[1], device=keep.device, dtype=torch.int64)
        if not bool(torch.where(keep, into == own, (into < 0) | keep.gather(1, known)).all()):
            raise InvalidValueError(
                "A method in the vision tower sends a token into one that is not kept, or a kept one elsewhere; "
                "`into` must name kept tokens, and each kept token itself."
            )
        rank = (keep.cumsum(dim=1) - 1).gather(1, known).masked_fill(into < 0, -1)
        source = rank.gather(1, self.source.clamp(min=0)).masked_fill(self.source < 0, -1)
        size = self.size.new_zeros(keep.shape[0], int(counts[0]))
        size.scatter_add_(1, rank.clamp(min=0), self.size.masked_fill(into < 0, 0.0))
        absent = None if merging.absent is None else _of_kept(merging.absent, keep)
        carried = None if merging.carry is None else _of_kept(merging.carry, keep)
        return Remaining(_of_kept(self.seats, keep), source, size, merging.proportional, absent, carried)

    def shorten(self, values: Tensor) -> Tensor:
        """Values of the tokens left, (t, s, d), from those of all tokens, (t, full, d)."""
        return values.gather(1, self.seats[..., None].expand(-1, -1, values.shape[-1]))

    def spread(self, values: Tensor) -> Tensor:
        """Values of all tokens, (t, full, d), from those left; 0 without a source."""
        spread = values.gather(1, self.source.clamp(min=0)[..., None].expand(-1, -1, values.shape[-1]))
        return spread.masked_fill((self.source < 0)[..., None], 0)

    def alive(self) -> Tensor:
        """1 where a token stands, 0 where one has gone, (t, full) float32."""
        there = torch.ones_like(self.size) if self.absent is None else (~self.absent).float()
        return torch.zeros(self.source.shape, device=self.seats.device, dtype=torch.float32).scatter_(
            1, self.seats, there
        )

    @property
    def bias(self) -> Tensor | None:
        """What attention adds to the logits of each key, (t, s) float32; None for nothing."""
        if not self.proportional and self.absent is None:
            return None
        bias = self.size.log() if self.proportional else torch.zeros_like(self.size)
        return bias if self.absent is None else bias.masked_fill(self.absent, float("-inf"))


def _of_kept(values: Tensor, keep: Tensor) -> Tensor:
    """The values (t, s) of kept tokens, as many in each tile, (t, kept)."""
    return values[keep].view(keep.shape[0], -1)


@dataclass(frozen=True)
class PackedRemaining:
    """The tokens that are left of a sequence into which a tower packs all pictures.

    Attributes:
        seats: (s,) int64, the places of the tokens that are left, ascending.
        source: (full,) int64, for each place the token (of the s) whose value it gets.
    """

    seats: Tensor
    source: Tensor

    @classmethod
    def of(cls, source: Tensor, order: Tensor, patches: int) -> PackedRemaining:
        """The tokens that are left, from the units that are left.

        Args:
            source: (u,) int64, for each unit the unit whose value it gets, in the order of the pictures.
            order: (u,) int64, the units in the tower's order.
            patches: consecutive tokens of each unit.

        Raises:
            InvalidValueError: a unit gets the value of one that is left out.
        """
        kept = source == torch.arange(len(source), device=source.device, dtype=torch.int64)
        if not bool(kept[source].all()):
            raise InvalidValueError(
                "A method before the vision tower gives a unit the value of one that is left out; name kept units."
            )
        ordered = kept[order]
        rank = torch.zeros_like(source)
        rank[order] = ordered.cumsum(0) - 1
        within = torch.arange(patches, device=source.device, dtype=torch.int64)
        seats = ordered.nonzero()[:, 0]
        return cls(
            (seats[:, None] * patches + within).flatten(), (rank[source[order]][:, None] * patches + within).flatten()
        )

    def to(self, device: torch.device) -> PackedRemaining:
        """The same on another device."""
        return PackedRemaining(self.seats.to(device), self.source.to(device))

    def bounds(self, bounds: Tensor) -> Tensor:
        """Where sequences start and end among the tokens left; empty ones are removed."""
        left = torch.zeros(len(self.source) + 1, dtype=torch.long, device=self.seats.device)
        left[self.seats + 1] = 1
        ends: Tensor = left.cumsum(0)[bounds.to(left.device).long()]
        return ends.unique_consecutive().to(bounds)  # type: ignore[no-any-return]

    def alive(self) -> Tensor:
        """1 where a token stands, (full,) float32."""
        alive = torch.zeros(len(self.source), device=self.seats.device, dtype=torch.float32)
        alive[self.seats] = 1.0
        return alive


def longest(bounds: Tensor) -> int:
    """Length of the longest of packed sequences."""
    return max((end - start for start, end in pairwise(bounds.tolist())), default=0)
