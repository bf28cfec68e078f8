"""MMR: IDPruner's balance of importance and diversity, without a trained scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.fields.kinds import Share
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class MMR(Method):
    """Keep important tokens that are unlike each other, by maximal marginal relevance.

    Based on "IDPruner: Harmonizing Importance and Diversity in Visual Token Pruning for MLLMs" (arXiv 2602.13315): the
    next token is always the one with the largest λ·importance - (1 - λ)·(highest cosine to a chosen token). IDPruner
    takes importance from a scorer trained for it; here it is the vision tower's attention or the norm of the projected
    embedding, min-max normalised over the sample like theirs.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count.
        weight: λ, 0 to 1; 0.5 in the paper.
        importance: the measure of importance: `cls` ([CLS] attention), `received` (mean attention received), `norm` (of
            the embedding), or `auto`, the first of these that the model offers. Newline tokens, and others of unknown
            attention, have the lowest importance.
        layer: tower layer whose attention is read.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    weight: Share = 0.5
    importance: Literal["auto", "cls", "received", "norm"] = "auto"
    layer: int = -1

    name: ClassVar[str] = "mmr"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "important and unlike each other (IDPruner's rule, without its scorer)"
    paper: ClassVar[str] = "arXiv 2602.13315"
    card: ClassVar[Card] = Card(
        venue="arXiv 2026",
        acts=("select",),
        follows="IDPruner's rule and λ; its trained importance is replaced by attention or norm, so do not expect "
        "its numbers. Ties go to the first token.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer` where importance is attention."""
        from todre.tensors.token_facts import Signal

        return () if self.importance == "norm" else (Signal(self.importance, self.layer, even=True),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Grow the set greedily from the most important token."""
        import torch

        keep = torch.zeros(len(visual), dtype=torch.bool, device=visual.embeddings.device)
        keep[self.order(visual)] = True
        return keep

    def order(self, visual: VisualTokens) -> Tensor:
        """The kept tokens in the order of choosing, (k,) int64."""
        from todre.select import mmr_order

        k = budget(self.retain, len(visual))
        return mmr_order(visual.embeddings, k, self._scaled(visual), self.weight)

    def _scaled(self, visual: VisualTokens) -> Tensor:
        """Importance of each token in [0, 1], (n,) float64.

        It is 0 where unknown, and 0 everywhere if all tokens are equally important.
        """
        import torch

        if self.importance == "norm" or (self.importance == "auto" and bool(visual.saliency.isnan().all())):
            values = torch.linalg.vector_norm(visual.embeddings.double(), dim=1).masked_fill(visual.newline, torch.nan)
        else:
            values = visual.signal(*self.signals()).double()
        known = values[~values.isnan()]
        span = known.max() - known.min() if len(known) else values.new_zeros(())
        scaled: Tensor = (values - known.min()) / span if span > 0 else torch.zeros_like(values)
        return scaled.nan_to_num(0.0)
