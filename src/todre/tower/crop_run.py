"""Crop runs: a vision tower that runs on thumbnails, and on the crops that were chosen."""

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
    """Tiles side by side, (tiles, tokens, d), of which layers run on those that are kept.

    The place of a token that was left out holds the value of the thumbnail's token that shows the same.
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
        self.kept = keep.nonzero()[:, 0]
        self.all_stay = len(self.kept) == len(keep)
        self.source: Tensor | None = None
        self.full, self.layers = 0, 0

    def enter(self, index: int, hidden: Tensor, arguments: Arguments) -> Tensor:
        """Take the tiles that are kept."""
        check_mask(attention_mask_of(arguments))
        self.full, self.layers = hidden.shape[1], index + 1
        return hidden if self.all_stay else hidden[self.kept.to(hidden.device)]

    def layer_lengths(self) -> Lengths:
        """The kept tiles, as long as ever."""
        return [[self.full] * len(self.kept)] * self.layers

    def arguments(self, arguments: Arguments) -> dict[str, Any]:
        """A mask that hides nothing is dropped with the tiles."""
        return without_mask(arguments)

    def leave(self, index: int, hidden: Tensor) -> Tensor:
        """Put all tiles back."""
        return hidden if self.all_stay else self._spread(hidden)

    def whole(self, hidden: Tensor) -> Tensor:
        """Recorded after the crops were left out."""
        return hidden if hidden.shape[0] == len(self.keep) else self._spread(hidden)

    def alive(self) -> Tensor:
        """All tokens of a tile or none."""
        return self.keep.float()[:, None].repeat(1, self.full - self.plan.first)

    def complete_signal(self, layer: float, values: Tensor) -> Tensor:
        """Of tokens that were left out, what was seen of those that show the same."""
        if self.all_stay:
            return values
        head = values.new_zeros(values.shape[0], self.plan.first, values.shape[2])
        return self._spread(torch.cat([head, values], dim=1))[:, self.plan.first :]

    def _spread(self, kept: Tensor) -> Tensor:
        """(tiles, full, d) of (kept tiles, full, d)."""
        if self.source is None:
            self.source = self._sources()
        self.source = self.source.to(kept.device)
        return kept.flatten(0, 1)[self.source]

    def _sources(self) -> Tensor:
        """(tiles, full) int64: the token of all kept tiles that each token has the value of."""
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
