"""Which tokens of a vision tower are left, where they stand, and what goes into what: pure tensors.

A tower that was reduced runs on fewer tokens, but hands on all of them: the place of a token that is gone holds the
value of the token it went into. So whatever needs the whole grid (a merger, pixel shuffle, unpadding) works as ever,
and which tokens are really there is told beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.methods.card import Card
from todre.tensors.attention import Seen, cls_attention
from todre.tower.tiles import Tiles


@dataclass(frozen=True)
class TowerContext:
    """What a method sees after a layer of a vision tower: t tiles of s tokens each.

    Attributes:
        layer: layers run.
        n_layers: layers in all, up to the one that features are taken from.
        patches: n, the tokens of each tile at the start, those before the patches not counted.
        first: tokens before the patches ([CLS], registers), which always stay.
        hidden: (t, s, d) states that enter the next layer.
        seen: queries and keys (t, heads, s, c) of the layer that has just run.
        size: (t, s) float32, how many of the tokens at the start each stands for.
        place: (t, s) int64, which of the n places of the tile's raster each stands in, ascending; below 0 for tokens
            before the patches.
    """

    layer: int
    n_layers: int
    patches: int
    first: int
    hidden: Tensor
    seen: Seen
    size: Tensor
    place: Tensor

    @property
    def count(self) -> int:
        """Tokens of each tile that are left, [CLS] not counted."""
        return self.hidden.shape[1] - self.first

    @property
    def side(self) -> int:
        """Tokens along each side of the square raster.

        Raises:
            UnsupportedModelError: it is not square.
        """
        side = math.isqrt(self.patches)
        if side**2 != self.patches:
            raise UnsupportedModelError(
                f"This vision tower makes {self.patches} tokens of a tile, which is no square; "
                "use a method that needs no raster in the tower, such as tome."
            )
        return side

    def cls_attention(self) -> Tensor:
        """(t, s - first) float32 attention of [CLS] to the patches, averaged over heads after the softmax."""
        return cls_attention(self.seen, self.first)

    def keys(self) -> Tensor:
        """(t, s, c) float32 keys, averaged over heads."""
        return self.seen.key.float().mean(dim=1)

    def logits(self) -> Tensor:
        """(t, s, s) float32 attention logits, averaged over heads; [CLS] is among queries and keys."""
        query, key = (each.float().transpose(1, 2).flatten(2) for each in (self.seen.query, self.seen.key))
        return query @ key.transpose(1, 2) * (self.seen.scaling / self.seen.query.shape[1])


@dataclass(frozen=True)
class Merging:
    """What a method answers in a vision tower.

    Attributes:
        keep: (t, s) bool, the tokens that go on; as many in each tile.
        into: (t, s) int64, the token (of the s) that each goes into: itself if it is kept, -1 if into none.
        hidden: (t, s, d) states in place of the present ones; those of tokens that are not kept are not looked at.
        proportional: whether later layers add the logarithm of a token's size to the logits of its key.
    """

    keep: Tensor
    into: Tensor
    hidden: Tensor | None = None
    proportional: bool = False


@dataclass(frozen=True)
class Patches:
    """The pixels of pictures and clips that are packed into one sequence, before the tower's first layer.

    A unit is what becomes one visual token: `merge`² patches.

    Attributes:
        pixels: (u, p) the normalised pixels of each unit, channel · frame · row · column for each of its patches.
        grids: of each picture or clip, (frames, rows, columns) in units; its units stand frame by frame, row by row.
        merge: patches along each side of a unit.
        channels: colours of a pixel.
    """

    pixels: Tensor
    grids: list[tuple[int, int, int]]
    merge: int
    channels: int = 3


class TowerMethod(Protocol):
    """What the tower asks of a method."""

    @property
    def card(self) -> Card:
        """Its facts; `needs` is read."""

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Counts of layers run after which `merge` is asked; (0,) if it acts before the first."""

    def merge(self, context: TowerContext) -> Merging:
        """Choose the tokens that go on."""

    def leave_out(self, patches: Patches) -> Tensor:
        """(u,) int64: the unit whose value each unit takes; itself if it is kept."""

    def choose_tiles(self, tiles: Tiles) -> Tensor:
        """(t,) bool: the tiles that the tower runs on, all thumbnails among them."""


@dataclass(frozen=True)
class Remaining:
    """The tokens of t tiles that are left of `full` each, [CLS] counted.

    Attributes:
        seats: (t, s) int64, the places they stand in, ascending.
        source: (t, full) int64, for each place the token (of the s) whose value it takes, -1 if none.
        size: (t, s) float32, how many tokens each stands for.
        proportional: whether attention counts a token as often as it is large.
    """

    seats: Tensor
    source: Tensor
    size: Tensor
    proportional: bool = False

    @classmethod
    def everyone(cls, tiles: int, full: int, device: torch.device) -> Remaining:
        """Nothing has been reduced yet."""
        seats = torch.arange(full, device=device, dtype=torch.int64).expand(tiles, full)
        return cls(seats, seats, torch.ones(tiles, full, device=device, dtype=torch.float32))

    def to(self, device: torch.device) -> Remaining:
        """On another device."""
        return Remaining(self.seats.to(device), self.source.to(device), self.size.to(device), self.proportional)

    def after(self, merging: Merging) -> Remaining:
        """What is left after `merging`.

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
        seats = self.seats[keep].view(keep.shape[0], -1)
        return Remaining(seats, source, size, merging.proportional)

    def shorten(self, values: Tensor) -> Tensor:
        """(t, s, d) of (t, full, d)."""
        return values.gather(1, self.seats[..., None].expand(-1, -1, values.shape[-1]))

    def spread(self, values: Tensor) -> Tensor:
        """(t, full, d) of (t, s, d); 0 where a token went into none."""
        spread = values.gather(1, self.source.clamp(min=0)[..., None].expand(-1, -1, values.shape[-1]))
        return spread.masked_fill((self.source < 0)[..., None], 0)

    def alive(self) -> Tensor:
        """(t, full) float32: 1 where a token stands, 0 where one has gone."""
        return torch.zeros(self.source.shape, device=self.seats.device, dtype=torch.float32).scatter_(
            1, self.seats, 1.0
        )


def fused(hidden: Tensor, into: Tensor, weight: Tensor) -> Tensor:
    """States in which each token that others go into is the weighted mean of them and itself; the rest are as before.

    Args:
        hidden: (t, s, d).
        into: (t, s) int64, as in `Merging`.
        weight: (t, s) float32, at least 0; where all are 0 the mean is plain.
    """
    own = torch.arange(into.shape[1], device=into.device, dtype=torch.int64)
    moving = (into >= 0) & (into != own)
    target = into.clamp(min=0)
    weight = weight.masked_fill(into < 0, 0.0)
    empty = torch.zeros_like(weight).scatter_add_(1, target, weight) <= 0
    weight = torch.where(empty.gather(1, target) & (into >= 0), 1.0, weight)
    total = torch.zeros_like(weight).scatter_add_(1, target, weight)
    wide = target[..., None].expand_as(hidden)
    mean = torch.zeros_like(hidden, dtype=torch.float32).scatter_add(1, wide, hidden.float() * weight[..., None])
    mean = (mean / total.clamp(min=torch.finfo(torch.float32).tiny)[..., None]).to(hidden.dtype)
    receives = torch.zeros_like(moving).scatter_reduce(1, target, moving, "amax")
    return torch.where(receives[..., None], mean, hidden)


@dataclass(frozen=True)
class Packed:
    """The tokens that are left of a sequence into which a tower packs all its pictures.

    Attributes:
        seats: (s,) int64, the places they stand in, ascending.
        source: (full,) int64, for each place the token (of the s) whose value it takes.
    """

    seats: Tensor
    source: Tensor

    @classmethod
    def of(cls, source: Tensor, order: Tensor, patches: int) -> Packed:
        """From units to tokens.

        Args:
            source: (u,) int64, the unit whose value each takes, in the order of the pictures.
            order: (u,) int64, the units in the order in which the tower has them.
            patches: consecutive tokens of each unit.
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

    def to(self, device: torch.device) -> Packed:
        """On another device."""
        return Packed(self.seats.to(device), self.source.to(device))

    def bounds(self, bounds: Tensor) -> Tensor:
        """Where sequences start and end among the tokens that are left; empty ones are gone."""
        left = torch.zeros(len(self.source) + 1, dtype=torch.long, device=self.seats.device)
        left[self.seats + 1] = 1
        ends: Tensor = left.cumsum(0)[bounds.to(left.device).long()]
        return ends.unique_consecutive().to(bounds)  # type: ignore[no-any-return]

    def alive(self) -> Tensor:
        """(full,) float32."""
        alive = torch.zeros(len(self.source), device=self.seats.device, dtype=torch.float32)
        alive[self.seats] = 1.0
        return alive


def longest(bounds: Tensor) -> int:
    """The longest of packed sequences."""
    return max((end - start for start, end in pairwise(bounds.tolist())), default=0)
