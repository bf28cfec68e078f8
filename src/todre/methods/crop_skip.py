"""Crop skip: leave out crops that the thumbnail shows already, before the tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import Range
from todre.fields.kinds import Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.vision_tower import Tiles


@dataclass(frozen=True, kw_only=True)
class CropSkip(Method):
    """Run the vision tower on the thumbnail and on the crops that add most to it.

    Ours, without a paper: a crop that equals the enlarged thumbnail adds nothing but tokens. A crop's contribution is
    the root mean square difference between its pixels and the enlarged thumbnail's; padding counts as equal. Tiles do
    not see each other in the tower, so the tokens of the remaining tiles do not change.

    Args:
        retain: crops kept of each picture beside its thumbnail, a fraction or a count; ties go to the first crop.
        tau: crops that differ by less than tau are left out whatever `retain` says, even all of them; 0 leaves out
            none. Its scale is that of the normalised pixels that the tower gets, where white is 3.7 (CLIP) or 2
            (SigLIP) above black.
        positions: see `Method`; nothing is chosen per sample, so `per` stays as it is.
    """

    retain: Retain = 0.5
    tau: Annotated[float, Range(least=0)] = 0.0

    name: ClassVar[str] = "crop-skip"
    summary: ClassVar[str] = "crops that the thumbnail shows already, left out before the tower"
    card: ClassVar[Card] = Card(
        acts=("tower",),
        needs=("crops",),
        budget="Counts crops, exactly for each picture where tau is 0. The number of tokens follows from the crops "
        "that stay and their padding; the thumbnail and all newlines stay.",
        follows="Ours, without a paper.",
    )

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Act before the first layer."""
        return (0,)

    def choose_tiles(self, tiles: Tiles) -> Tensor:
        """Keep each thumbnail and the crops that add most to it."""
        import torch

        keep = torch.ones(len(tiles.pixels), dtype=torch.bool, device=tiles.pixels.device)
        start = 0
        for cut, beyond in zip(tiles.cuts, tiles.beyond_thumbnail(), strict=True):
            if len(beyond):
                best = beyond.argsort(descending=True, stable=True)[: budget(self.retain, len(beyond))]
                chosen = torch.zeros_like(beyond, dtype=torch.bool)
                chosen[best] = True
                keep[start + 1 : start + cut.tiles] = chosen & (beyond >= self.tau)
            start += cut.tiles
        return keep
