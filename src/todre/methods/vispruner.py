"""VisPruner: half the budget by attention, half for tokens without a duplicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Attention, Share
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class VisPruner(Method):
    """Keep the most attended tokens of each tile, and the most distinct of the rest.

    Based on "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs" (VisPruner,
    arXiv 2412.01818v2). Of a tile's share, ⌊share·important⌋ tokens are those with the highest [CLS] attention. The
    others, in the order of their attention, are thinned: every second token is compared with those between, and up to
    eight whose best cosine is highest leave, until the share is met. All cosines of one tile's tokens are held.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions, rounded by
            largest remainder; newline tokens are kept first, within the budget (unless they alone would use it up).
        important: share of the budget that goes by attention, 0 to 1.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention is read; -2 is where LLaVA takes its features from.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    important: Share = 0.5
    attention: Attention = "auto"
    layer: int = -2

    name: ClassVar[str] = "vispruner"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "half by [CLS] attention, half without near duplicates"
    paper: ClassVar[str] = "arXiv 2412.01818v2"
    card: ClassVar[Card] = Card(
        venue="ICCV 2025",
        acts=("select",),
        needs=("received",),
        follows="The released code, up to eight tokens a round and its order of the list, but on projected embeddings "
        "instead of the tower's, the newline tokens within the budget instead of on top of it, and with attention "
        "received where a tower has no [CLS].",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each tile the most attended tokens, then the most distinct ones."""
        from todre.methods.shared.grouping import best, newlines_first, tile_shares
        from todre.select import thin

        attention = visual.signal(*self.signals())
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        for tile, share in tile_shares(visual, room):
            ranked = tile[best(attention[tile], len(tile))]
            important = int(share * self.important)
            keep[ranked[:important]] = True
            rest = ranked[important:]
            if share > important:
                keep[rest[thin(visual.embeddings[rest], share - important)]] = True
        return keep
