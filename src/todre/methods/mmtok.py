"""MMTok: tokens that cover the text and all visual tokens at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import Range
from todre.fields.kinds import Positive
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class MMTok(Method):
    """Keep the visual tokens that best cover the text and all visual tokens.

    Based on "MMTok: Multimodal Coverage Maximization for Efficient Inference of VLMs" (arXiv 2508.18264) and its code.
    Each of the m text tokens is a row of the softmax over the tile's visual tokens of its cosines / τ_t, divided by m;
    each of the n visual tokens is a row of the softmax of its cosines / τ_v, divided by n and multiplied by α. The next
    token is always the one that raises most the sum over all rows of the highest number of a chosen token. A sample
    without text after its pictures is covered by visual rows alone. All cosines of one tile's tokens are held.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions, rounded by
            largest remainder; newline tokens are kept first, within the budget (unless they alone would use it up).
        alpha: α, the weight of the visual rows against the text's; 0 covers the text alone.
        text_temperature: τ_t; 0.02 in the code for LLaVA, 0.01 for Qwen.
        visual_temperature: τ_v.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    alpha: Annotated[float, Range(least=0)] = 0.5
    text_temperature: Positive = 0.02
    visual_temperature: Positive = 0.2

    name: ClassVar[str] = "mmtok"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "tokens that cover the text and all visual tokens (max coverage)"
    paper: ClassVar[str] = "arXiv 2508.18264"
    card: ClassVar[Card] = Card(
        venue="ICLR 2026",
        acts=("select",),
        needs=("text",),
        follows="The released code, with its numbers for LLaVA. Visual rows compare projected embeddings, where the "
        "code takes features before the projector; all text after the first picture counts, as in its code for Qwen, "
        "where that for LLaVA first takes out stop words and stock phrases. Newline tokens count within the budget, "
        "where the code drops them.",
    )

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each tile the tokens that cover most."""
        from todre.methods.shared.grouping import newlines_first, tile_shares
        from todre.select import coverage_orders

        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        parts = [(tile, count) for tile, count in tile_shares(visual, room) if count]
        rows = (self._rows(visual.embeddings[tile], visual.text) for tile, _ in parts)
        orders = coverage_orders(rows, [count for _, count in parts])
        for (tile, _), order in zip(parts, orders, strict=True):
            keep[tile[order]] = True
        return keep

    def _rows(self, x: Tensor, text: Tensor) -> Tensor:
        """How far each visual token of a tile covers each text and visual token.

        Args:
            x: (n, d) embeddings of the tile's tokens.
            text: (m, d).

        Returns:
            (m + n, n), float32 or float64. On an accelerator the columns of tokens that are not finite are NaN.
        """
        import torch

        parts = []
        if len(text):
            parts.append(self._shares(x, text, self.text_temperature) / len(text))
        if self.alpha or not len(text):
            parts.append(self._shares(x, None, self.visual_temperature) * ((self.alpha or 1.0) / len(x)))
        return torch.cat(parts, dim=1).T

    def _shares(self, x: Tensor, to: Tensor | None, temperature: float) -> Tensor:
        """Softmax over the tokens x of their cosines with each of `to`, (n, m)."""
        import torch

        from todre.select import likeness

        cosines = likeness(x, to)
        broken = cosines.isnan()
        shares = (cosines / temperature).masked_fill(broken, -torch.inf).softmax(dim=0)
        return shares.masked_fill(broken, torch.nan)
