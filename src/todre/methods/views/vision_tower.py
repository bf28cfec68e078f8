"""The records that a method is shown before and inside the tower, and its answers."""

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
    """Layout of one picture's tiles: first the thumbnail, then its crops row by row.

    Attributes:
        rows, columns: number of rows and columns of crops; 0 where the picture was not cut.
        height, width: size of the original picture, in pixels.
    """

    rows: int
    columns: int
    height: int
    width: int

    @property
    def tiles(self) -> int:
        """Number of tiles, the thumbnail included."""
        return 1 + self.rows * self.columns

    def content(self, side: int) -> tuple[int, int, int, int]:
        """Bounds of the picture within the joined crops; the rest is padding.

        The picture was resized to touch two opposite edges and centred, as transformers' AnyRes processors do.

        Args:
            side: side of a crop, in the unit of the answer.

        Returns:
            (top, left, height, width).
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
    """Tiles of all pictures in one call of a vision tower, before its first layer.

    Attributes:
        pixels: (t, channels, side, side), normalised pixels of each tile.
        cuts: layout of each picture; tiles are ordered picture by picture.
    """

    pixels: Tensor
    cuts: list[Cut]

    def beyond_thumbnail(self) -> list[Tensor]:
        """Difference between each crop and its part of the thumbnail.

        The difference is the root mean square over pixels. The thumbnail is first enlarged bilinearly to the area that
        the picture covers in the crops. Padding counts as equal.

        Returns:
            One (crops,) float32 tensor for each picture, on the scale of normalised pixels.
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
    """The record that a method is shown after a layer of a vision tower.

    Sizes: t tiles of s tokens each, c channels of a head.

    Attributes:
        layer: count of layers run, 1-based.
        n_layers: number of layers up to the one that features are taken from.
        patches: n, number of patch tokens in each tile before any merging.
        first: number of tokens before the patches ([CLS], registers); these tokens always stay.
        hidden: (t, s, d) states that enter the next layer.
        attention_inputs: queries, keys and values (t, heads, s, c) of the layer that has just run.
        size: (t, s) float32, number of original tokens that each token stands for.
        place: (t, s) int64, 0-based place of each token in the tile's raster of n places, ascending; negative for
            tokens before the patches.
        absent: (t, s) bool, the tokens that have left a tile of which more left than of others (`Merging.absent`);
            None if there are none.
        carried: (t, s) float32, what the method's last answer carried for the tokens that are left; None before it.
    """

    layer: int
    n_layers: int
    patches: int
    first: int
    hidden: Tensor
    attention_inputs: AttentionInputs
    size: Tensor
    place: Tensor
    absent: Tensor | None = None
    carried: Tensor | None = None

    @property
    def count(self) -> int:
        """Patch tokens left in each tile, the absent ones included."""
        return self.hidden.shape[1] - self.first

    @property
    def side(self) -> int:
        """Tokens along each side of the square raster.

        Raises:
            UnsupportedModelError: the raster is not square.
        """
        side = math.isqrt(self.patches)
        if side**2 != self.patches:
            raise UnsupportedModelError(
                f"This vision tower makes {self.patches} tokens of a tile, which is no square; "
                "use a method that needs no raster in the tower, such as tome."
            )
        return side

    def cls_attention(self) -> Tensor:
        """Attention of [CLS] to the patches, averaged over heads after the softmax.

        Returns:
            (t, s - first) float32.
        """
        return cls_attention(self.attention_inputs, self.first)

    def keys(self) -> Tensor:
        """Keys averaged over heads, (t, s, c) float32."""
        return self.attention_inputs.key.float().mean(dim=1)

    def logits(self) -> Tensor:
        """Attention logits averaged over heads, (t, s, s) float32.

        The tokens before the patches are among the queries and keys.
        """
        query, key = (
            each.float().transpose(1, 2).flatten(2) for each in (self.attention_inputs.query, self.attention_inputs.key)
        )
        return query @ key.transpose(1, 2) * (self.attention_inputs.scaling / self.attention_inputs.query.shape[1])


@dataclass(frozen=True)
class Merging:
    """A method's answer after a layer of a vision tower.

    Attributes:
        keep: (t, s) bool, the tokens that go on; the same number in each tile.
        into: (t, s) int64, index of the token that each token is merged into: its own if it is kept, -1 if it is
            dropped.
        hidden: (t, s, d) states that replace the present ones, read at kept tokens alone; None leaves them.
        proportional: whether later layers add the logarithm of a token's size to the logits of its key.
        absent: (t, s) bool, kept tokens that count as gone: no token attends to them any more. With these a method may
            leave fewer tokens in some tiles than in others. Each answer names them anew; None if there are none.
        carry: (t, s) float32, a number of each token that the method wants back the next time it is asked.
    """

    keep: Tensor
    into: Tensor
    hidden: Tensor | None = None
    proportional: bool = False
    absent: Tensor | None = None
    carry: Tensor | None = None

    @property
    def changes_nothing(self) -> bool:
        """True if all tokens go on as they are, and nothing is to be remembered."""
        kept = self.hidden is None and self.absent is None and self.carry is None
        return kept and bool(self.keep.all())


@dataclass(frozen=True)
class Patches:
    """Pixels of pictures and clips packed into one sequence, before the first layer.

    A unit is the `merge`² patches that become one visual token.

    Attributes:
        pixels: (u, p) normalised pixels of each unit, patch by patch; within a patch, p is channel · frame · row ·
            column.
        grids: (frames, rows, columns) of each picture or clip, in units; units are ordered frame by frame, row by row.
        merge: patches along each side of a unit.
        channels: number of colour channels.
    """

    pixels: Tensor
    grids: list[tuple[int, int, int]]
    merge: int
    channels: int = 3


class TowerMethod(Protocol):
    """The members of a method that the vision tower calls; every `Method` has them."""

    @property
    def card(self) -> Card:
        """Facts about the method; the tower reads `needs`."""

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Counts of layers run after which the method acts; 0 means before the first."""

    def merge(self, context: TowerContext) -> Merging:
        """Choose the tokens that go on."""

    def leave_out(self, patches: Patches) -> Tensor:
        """For each unit the unit whose value it takes; its own if it is kept, (u,) int64."""

    def choose_tiles(self, tiles: Tiles) -> Tensor:
        """Tiles that the tower runs on, all thumbnails among them, (t,) bool."""


def fuse(hidden: Tensor, into: Tensor, weight: Tensor) -> Tensor:
    """Replace each token that others are merged into by their weighted mean.

    The mean includes the token itself; tokens that nothing is merged into stay as they are.

    Args:
        hidden: (t, s, d).
        into: (t, s) int64, as in `Merging`.
        weight: (t, s) float32, at least 0; where all weights are 0 the mean is plain.

    Returns:
        (t, s, d), of the dtype of `hidden`.
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
