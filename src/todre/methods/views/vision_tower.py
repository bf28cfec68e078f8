"""What a method is shown in and before the vision tower, and what it answers there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from todre.errors import UnsupportedModelError
from todre.methods.card import Card
from todre.tensors.attention import AttentionInputs, cls_attention


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


@dataclass(frozen=True)
class TowerContext:
    """What a method sees after a layer of a vision tower: t tiles of s tokens each.

    Attributes:
        layer: layers run.
        n_layers: layers in all, up to the one that features are taken from.
        patches: n, the tokens of each tile at the start, those before the patches not counted.
        first: tokens before the patches ([CLS], registers), which always stay.
        hidden: (t, s, d) states that enter the next layer.
        attention_inputs: queries and keys (t, heads, s, c) of the layer that has just run.
        size: (t, s) float32, how many of the tokens at the start each stands for.
        place: (t, s) int64, which of the n places of the tile's raster each stands in, ascending; below 0 for tokens
            before the patches.
    """

    layer: int
    n_layers: int
    patches: int
    first: int
    hidden: Tensor
    attention_inputs: AttentionInputs
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
        return cls_attention(self.attention_inputs, self.first)

    def keys(self) -> Tensor:
        """(t, s, c) float32 keys, averaged over heads."""
        return self.attention_inputs.key.float().mean(dim=1)

    def logits(self) -> Tensor:
        """(t, s, s) float32 attention logits, averaged over heads; [CLS] is among queries and keys."""
        query, key = (
            each.float().transpose(1, 2).flatten(2) for each in (self.attention_inputs.query, self.attention_inputs.key)
        )
        return query @ key.transpose(1, 2) * (self.attention_inputs.scaling / self.attention_inputs.query.shape[1])


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


def fuse(hidden: Tensor, into: Tensor, weight: Tensor) -> Tensor:
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
