"""DivPrune: the tokens that lie farthest apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class DivPrune(Method):
    """Keep visual tokens that lie far apart: greedy max-min over cosine distance.

    Based on "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models" (arXiv 2503.02175). The first
    token is the one whose nearest neighbour is farthest; each next one is farthest from its nearest chosen token. All
    visual tokens of a sample take part, newline tokens too. The result is that of the full distance matrix.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count; the paper's main setting is 0.098.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1

    name: ClassVar[str] = "divprune"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "the tokens that lie farthest apart (max-min diversity)"
    paper: ClassVar[str] = "arXiv 2503.02175"
    card: ClassVar[Card] = Card(
        venue="CVPR 2025",
        acts=("select",),
        follows="Paper and released code agree; equal distances are resolved to the first token, and identical tokens "
        "are at distance exactly 0.",
    )

    def select(self, visual: VisualTokens) -> Tensor:
        """Grow the set greedily from the most isolated token."""
        import torch

        keep = torch.zeros(len(visual), dtype=torch.bool, device=visual.embeddings.device)
        if budget(self.retain, len(visual)) == len(visual):
            return ~keep
        keep[self.order(visual)] = True
        return keep

    def order(self, visual: VisualTokens) -> Tensor:
        """The kept tokens in the order of choosing, (k,) int64."""
        from todre.select import max_min_order

        return max_min_order(visual.embeddings, budget(self.retain, len(visual)))
