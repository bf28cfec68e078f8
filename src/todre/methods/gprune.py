"""G-Prune: tokens at which information gathers in a graph of similar tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Cosine, Natural, Positive
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class GPrune(Method):
    """Keep tokens at which information gathers in a graph of similar tokens.

    Based on "What Kind of Visual Tokens Do We Need? Training-free Visual Token Pruning for Multi-modal Large Language
    Models from the Perspective of Graph" (G-Prune, arXiv 2501.02268). Tokens whose cosine is at least `threshold` are
    joined by an edge. Each row of cosine / temperature goes through a softmax over its edges, the tokens' norms are
    passed on `steps` times, and what arrives is divided by the number of edges. A thumbnail, the united crops of a
    picture and each frame are graphs of their own; the edges of one graph are held at a time, (m, m) for m tokens.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count; 0.5 in the authors' code. Each graph
            keeps an equal fraction by largest remainder; newline tokens are kept first, within the budget (unless they
            alone would use it up).
        threshold: smallest cosine of an edge.
        temperature: temperature of the softmax.
        steps: number of times that information is passed on.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    threshold: Cosine = 0.5
    temperature: Positive = 0.03
    steps: Natural = 5

    name: ClassVar[str] = "gprune"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "tokens where information gathers, in a graph of similar tokens"
    paper: ClassVar[str] = "arXiv 2501.02268"
    card: ClassVar[Card] = Card(
        venue="AAAI 2025",
        acts=("select",),
        follows="The released code, whose thumbnail of 576 tokens and one picture are generalised to any sheets; the "
        "newline tokens count within the budget, and scores are float64 so that equal tokens tie.",
    )

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep the tokens with the highest scores of each graph."""
        from todre.methods.shared.budgets import shares
        from todre.methods.shared.grouping import best, newlines_first, sheets
        from todre.select import propagation_scores

        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        found = sheets(visual)
        for sheet, share in zip(found, shares(room, [len(sheet) for sheet in found]), strict=True):
            x = visual.embeddings[sheet]
            scores = propagation_scores(x, self.threshold, self.temperature, self.steps).to(sheet.device)
            keep[sheet[best(scores, share)]] = True
        return keep
