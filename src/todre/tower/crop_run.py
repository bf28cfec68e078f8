"""Crop runs: a vision tower that runs on thumbnails and on selected crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.hf.tower_calls import Arguments, attention_mask_of, tile_pixels, without_mask
from todre.methods.views.vision_tower import Cut, Tiles
from todre.tensors.autocast import no_autocast
from todre.tower.runs import Lengths, Run, check_mask
from todre.tower.tiles import check_tiles, in_thumbnail
from todre.tower.tower_plan import TowerPlan


class CropRun(Run):
    """One tower call on (tiles, tokens, d) that runs only some of the tiles.

    The place of a token that was left out holds the value of the thumbnail's token that shows the same part of the
    picture.

    Args:
        plan: where the method acts.
        arguments: the tower's arguments, by name.
        cuts: how each picture was cut into tiles.

    Raises:
        InvalidValueError: the method's answer is not (tiles,), or leaves out a thumbnail.
    """

    def __init__(self, plan: TowerPlan, arguments: Arguments, cuts: Sequence[Cut]) -> None:
        super().__init__(plan)
        self.cuts = list(cuts)
        pixels = check_tiles(tile_pixels(arguments), self.cuts)
        with no_autocast(pixels.device):
            keep = plan.method.choose_tiles(Tiles(pixels, self.cuts))
        self.first = [sum(cut.tiles for cut in self.cuts[:place]) for place in range(len(self.cuts))]
        if keep.shape != (len(pixels),) or not bool(keep[self.first].all()):
            raise InvalidValueError(
                f"A method before the vision tower keeps tiles {keep.tolist()} of pictures whose thumbnails are "
                f"{self.first}; answer (tiles,) bool, True for all thumbnails."
            )
        self.keep = keep
        self.kept_tiles = keep.nonzero()[:, 0]
        self.all_stay = len(self.kept_tiles) == len(keep)
        self.source: Tensor | None = None
        self.full, self.layers = 0, 0

    def enter(self, index: int, hidden: Tensor, arguments: Arguments) -> Tensor:
        """Hidden states of the tiles that are kept."""
        check_mask(attention_mask_of(arguments))
        self.full, self.layers = hidden.shape[1], index + 1
        return hidden if self.all_stay else hidden[self.kept_tiles.to(hidden.device)]

    def layer_lengths(self) -> Lengths:
        """The full length of each kept tile, for each layer."""
        return [[self.full] * len(self.kept_tiles)] * self.layers

    def arguments(self, arguments: Arguments) -> dict[str, Any]:
        """The layer's arguments without a mask, which hides nothing."""
        return without_mask(arguments)

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Hidden states of all tiles, at full length."""
        return hidden if self.all_stay else self._spread(hidden)

    def whole(self, hidden: Tensor) -> Tensor:
        """Recorded states of all tiles, from the states of the tiles that were run."""
        return hidden if hidden.shape[0] == len(self.keep) else self._spread(hidden)

    def alive(self) -> Tensor:
        """1 for all tokens of a kept tile, 0 for the others."""
        return self.keep.float()[:, None].repeat(1, self.full - self.plan.first)

    def complete_signal(self, layer: float, values: Tensor) -> Tensor:
        """A signal of all tokens; a token left out gets its thumbnail token's signal."""
        if self.all_stay:
            return values
        head = values.new_zeros(values.shape[0], self.plan.first, values.shape[2])
        return self._spread(torch.cat([head, values], dim=1))[:, self.plan.first :]

    def _spread(self, kept: Tensor) -> Tensor:
        """Values of all tiles, (tiles, full, d), from the kept tiles' values."""
        if self.source is None:
            self.source = self._sources()
        self.source = self.source.to(kept.device)
        return kept.flatten(0, 1)[self.source]

    def _sources(self) -> Tensor:
        """Where each token's value comes from, as an index into the kept tiles' tokens.

        Returns:
            (tiles, full) int64 on the host, into the flattened (kept tiles * full) tokens.

        Raises:
            UnsupportedModelError: a tile's tokens make no square.
        """
        side, first = math.isqrt(self.full - self.plan.first), self.plan.first
        if side**2 != self.full - first:
            raise UnsupportedModelError(
                f"This vision tower makes {self.full - first} tokens of a tile, which is no square, so it is not known "
                "where they lie in the thumbnail; use a method that merges inside the tower, such as tome."
            )
        keep = self.keep.cpu()
        rank = keep.cumsum(dim=0) - 1
        own = torch.arange(self.full, dtype=torch.int64, device="cpu")
        source = rank[:, None] * self.full + own
        for start, cut in zip(self.first, self.cuts, strict=True):
            if cut.tiles == 1:
                continue
            shown = torch.cat([own[:first].expand(cut.tiles - 1, -1), in_thumbnail(cut, side) + first], dim=1)
            crops = slice(start + 1, start + cut.tiles)
            source[crops] = torch.where(keep[crops, None], source[crops], rank[start] * self.full + shown)
        return source
