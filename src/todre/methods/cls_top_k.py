"""[CLS] top-k: the most attended tokens of each tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import UnsupportedInputError
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, Preset, budget
from todre.methods.card import Card
from todre.methods.shared.grouping import best, newlines_last, tile_shares

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class CLSTopK(Method):
    """Keep the visual tokens with the highest [CLS] attention.

    Based on "[CLS] Attention is All You Need for Training-Free Visual Token Pruning" (FasterVLM, arXiv 2412.01818v1):
    [CLS] attention of the layer that features are taken from, the same ratio in each tile of an AnyRes picture and each
    frame of a clip. Shares are rounded by largest remainder, so that the budget is met exactly; newline tokens come
    last.

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
        if not visual.known:
            raise UnsupportedInputError(
                "No saliency is known for these pictures; encode pictures inside todre.prune(...) to use cls-top-k."
            )
        keep, room = newlines_last(visual, budget(self.retain, len(visual)))
        for tile, share in tile_shares(visual, room):
            keep.index_fill_(0, tile[best(visual.saliency[tile], share)], True)
        return keep


PRESETS = (Preset("fastervlm", CLSTopK, CLSTopK, "[CLS] top-k under the name of its paper", "arXiv 2412.01818v1"),)
