"""[CLS] top-k: the most attended tokens of each tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import UnsupportedInputError
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, Preset, budget
from todre.methods.card import Card
from todre.methods.shared.budgets import shares
from todre.methods.shared.grouping import best

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class CLSTopK(Method):
    """Keep the visual tokens with the highest [CLS] attention.

    Based on "[CLS] Attention is All You Need for Training-Free Visual Token Pruning" (FasterVLM, arXiv 2412.01818v1):
    [CLS] attention of the layer that features are taken from, the same ratio in each tile of an AnyRes picture.
    Shares are rounded by largest remainder, so that the budget is met exactly; newline tokens come last.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count.
        layer: tower layer whose attention is read; -2 is where LLaVA takes its features from.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    layer: int = -2

    name: ClassVar[str] = "cls-top-k"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "the tokens with the highest [CLS] attention, tile by tile"
    paper: ClassVar[str] = "arXiv 2412.01818v1"
    card: ClassVar[Card] = Card(
        acts=("select",),
        needs=("cls",),
        follows="The first version of the paper and its code (the second became VisPruner). Shares of tiles are "
        "rounded so that their sum is exact, where the code rounds each tile down.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request [CLS] attention of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal("cls", self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep the most attended tokens of each tile; ties go to the first."""
        import torch

        n = len(visual)
        k = budget(self.retain, n)
        if not visual.known:
            raise UnsupportedInputError(
                "No saliency is known for these pictures; encode pictures inside todre.prune(...) to use cls-top-k."
            )
        places = visual.host
        group = (places.picture * (int(places.tile.max()) + 2) + places.tile + 1).masked_fill(places.newline, -1)
        tiles, sizes = group[~places.newline].unique(return_counts=True)
        keep = torch.zeros(n, dtype=torch.bool, device=visual.device)
        for tile, share in zip(tiles, shares(k, sizes.tolist()), strict=True):
            members = visual.here((group == tile).nonzero().flatten())
            keep.index_fill_(0, members[best(visual.saliency[members], share)], True)
        spare = k - min(k, n - int(places.newline.sum()))
        keep.index_fill_(0, visual.here(places.newline.nonzero().flatten()[:spare]), True)
        return keep


PRESETS = (Preset("fastervlm", CLSTopK, CLSTopK, "[CLS] top-k under the name of its paper", "arXiv 2412.01818v1"),)
