"""SCOPE: salient tokens that stand for all tokens of their tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import Range
from todre.fields.kinds import Attention
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class SCOPE(Method):
    """Keep salient tokens that cover the others of their tile.

    Based on "SCOPE: Saliency-Coverage Oriented Token Pruning for Efficient Multimodel LLMs" (arXiv 2510.24214) and its
    code. In each tile, the next token is always the one with the largest a_j^α · Σ_i max(0, cos(x_i, x_j) - c_i), where
    a is attention, and c_i the highest cosine of token i to a chosen token, at least 0. This is greedy facility
    location, each gain weighted by saliency. Once everything is covered, gains are rounding, and the released code
    goes by them; here the most attended tokens are next. All cosines of one tile's tokens are held.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions, rounded by
            largest remainder; newline tokens are kept first, within the budget (unless they alone would use it up).
        alpha: α, the exponent of attention; 0 is coverage alone.
        attention: the attention that is saliency: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers. Tokens of unknown attention have none; a tile of unknown attention is
            chosen from by coverage alone.
        layer: tower layer whose attention is read; -2 is where LLaVA takes its features from.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    alpha: Annotated[float, Range(least=0)] = 1.0
    attention: Attention = "auto"
    layer: int = -2

    name: ClassVar[str] = "scope"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "salient tokens that cover the others (facility location)"
    paper: ClassVar[str] = "arXiv 2510.24214"
    card: ClassVar[Card] = Card(
        venue="NeurIPS 2025",
        acts=("select",),
        needs=("received",),
        follows="The product of gain and saliency in the released code, not its switch to their sum; on projected "
        "embeddings, as in AngelSlim's port, where the code reads the tower's. Newline tokens count within the budget "
        "where the code drops them, and attention received replaces [CLS] where a tower has none. Once everything is "
        "covered, attention decides instead of rounding.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each tile the salient tokens that cover it best."""
        from todre.methods.shared.grouping import newlines_first, tile_shares
        from todre.select import facility_orders

        attention = visual.signal(*self.signals())
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        parts = [(tile, count) for tile, count in tile_shares(visual, room) if count]
        orders = facility_orders(
            [visual.embeddings[tile] for tile, _ in parts],
            [count for _, count in parts],
            [self._weight(attention[tile]) for tile, _ in parts],
        )
        for (tile, _), order in zip(parts, orders, strict=True):
            keep[tile[order]] = True
        return keep

    def _weight(self, attention: Tensor) -> Tensor:
        """a^α of a tile's tokens, (n,) float64, at most 1.

        It is 0 where attention is unknown, and 1 for all if it is unknown or 0 for all.
        """
        import torch

        known = attention.double().nan_to_num(0.0).clamp(min=0)
        most = known.max()
        return torch.where(most > 0, (known / most).nan_to_num(0.0) ** self.alpha, 1.0)
