"""HiPrune: tokens attended in middle and deep tower layers, and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Share, TowerLayer
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class HiPrune(Method):
    """Keep anchors, their neighbours, and registers, by attention in the tower.

    Based on "HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in Vision-Language Models" (arXiv
    2508.00553). A tile with a share of n tokens has round(n·alpha/5) anchors: the tokens that receive most attention in
    a middle layer, where attention lies on objects. Their neighbours above, below, left and right are kept with them.
    The rest of the share goes to registers, the tokens that receive most attention in a deep layer, where attention
    gathers the whole picture.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions by largest
            remainder; newline tokens come last.
        alpha: share of the budget for anchors and neighbours, 0 to 1; 0.1 in the paper.
        object_layer: tower layer for anchors: a fraction of the depth (rounded down) as a float, or a Python
            index (negative from the end) as an int. The paper has 9 of 24 in CLIP, and 16 of 32 in Qwen2.5-VL's tower.
        register_layer: tower layer for registers, given like `object_layer`; -2 in CLIP, and -1 in Qwen2.5-VL.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    alpha: Share = 0.1
    object_layer: TowerLayer = 9 / 24
    register_layer: TowerLayer = -2

    name: ClassVar[str] = "hiprune"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "anchors of a middle layer, their neighbours, registers of a deep one"
    paper: ClassVar[str] = "arXiv 2508.00553"
    card: ClassVar[Card] = Card(
        venue="arXiv 2025",
        acts=("select",),
        needs=("received",),
        follows="The released code's anchors and registers; neighbours by row and column, where the code's arithmetic "
        "on indices wraps over the ends of rows. A token whose place is not known has no neighbours. Where neighbours "
        "outnumber the budget the most attended stay.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request the attention received in both layers."""
        from todre.tensors.token_facts import Signal

        return (Signal("received", self.object_layer), Signal("received", self.register_layer))

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each tile anchors, then neighbours, then registers."""
        import torch

        from todre.methods.shared.grouping import best, newlines_last, tile_shares

        middle, deep = (visual.signal(request) for request in self.signals())
        keep, room = newlines_last(visual, budget(self.retain, len(visual)))
        for tile, share in tile_shares(visual, room):
            ranked = best(middle[tile], len(tile))
            anchors = ranked[: round(share * self.alpha / 5)]
            near = _beside(visual.row[tile], visual.column[tile], anchors)
            # Anchors and neighbours come first, in the order of the middle layer; registers in that of the deep one.
            first = torch.cat([anchors, ranked[near[ranked]]])[:share]
            chosen = torch.zeros_like(near)
            chosen[first] = True
            registers = best(deep[tile], len(tile))
            chosen[registers[~chosen[registers]][: share - len(first)]] = True
            keep[tile[chosen]] = True
        return keep


def _beside(row: Tensor, column: Tensor, anchors: Tensor) -> Tensor:
    """Tokens directly above, below, left or right of an anchor, anchors excluded.

    Returns:
        (m,) bool.
    """
    distance = (row[:, None] - row[anchors]).abs() + (column[:, None] - column[anchors]).abs()
    known = (row >= 0)[:, None] & (row[anchors] >= 0)
    beside: Tensor = ((distance == 1) & known).any(dim=1)
    beside[anchors] = False
    return beside
