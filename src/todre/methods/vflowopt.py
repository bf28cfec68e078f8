"""VFlowOpt: prune before the LLM and at two of its layers, in fitted proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from todre.fields import OneOf, Range, fitted
from todre.fields.kinds import Layers
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.grouping import best
from todre.methods.shared.layers import resolve_layers, resolve_stages, stage_at
from todre.methods.shared.per_layer import check_stages
from todre.methods.shared.query_rows import columns_of, fresh_slots, remaining_counts, row_counts

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal

FITTED = {0.10: (0.117, (1.0, 0.601)), 0.25: (0.265, (0.983, 0.877)), 0.50: (0.723, (0.749, 0.487))}
"""Released `retain` and `ratios` for LLaVA-OneVision-7B, by mean share of tokens."""


@dataclass(frozen=True, kw_only=True)
class VFlowOpt(Method):
    """Keep the most attended tokens at three stages, and recycle the others into one.

    Based on "VFlowOpt: A Token Pruning Framework for LMMs with Visual Information Flow-Guided Optimization" (arXiv
    2508.05211). The stages are before the LLM and at two of its layers. Before the LLM tokens are ranked by the
    attention they receive in the vision tower, inside it by that of the prompt's last token. At each stage the last
    place of the budget holds the mean of all tokens that leave, weighted by their scores; it stands where the best of
    them stood.

    Args:
        retain: visual tokens that enter the LLM, a fraction of each sample's tokens or a count.
        ratios: for each stage inside the LLM, the share of the tokens at that stage that it keeps.
        layers: layers run before each of these stages, counts or fractions of the depth; 9 and 18 of 28 in the release.
        attention: tower attention that ranks tokens: `received`, or `cls` where there is a [CLS].
        tower_layer: tower layer whose attention is read, counted as Python does.
        recycle: whether the last place holds the mean of the tokens that leave.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.265
    ratios: tuple[Annotated[float, Range(above=0, most=1, called="a share")], ...] = (0.983, 0.877)
    layers: Layers = (9 / 28, 18 / 28)
    attention: Literal["received", "cls"] = "received"
    tower_layer: int = -2
    recycle: bool = True

    name: ClassVar[str] = "vflowopt"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "fitted shares before the LLM and at two layers, with recycling"
    paper: ClassVar[str] = "arXiv 2508.05211"
    card: ClassVar[Card] = Card(
        venue="ICCV 2025",
        acts=("select", "reduce"),
        needs=("received", "attention", "hidden"),
        budget="Exact at each stage; `retain` is what enters, and the mean over layers follows from `ratios`.",
        follows=(
            "The released proportions, fitted for one model. The paper ranks by attention from the few tokens that "
            "receive most, plus the entropy of patches (weight 0 in the release) and a weight for the thumbnail; here "
            "by attention received from all, without these. Inside the LLM the code ranks by the tower where it caches "
            "and by the last token where it does not; here by the last token."
        ),
    )

    def __post_init__(self) -> None:
        check_stages(self, "ratios")

    @classmethod
    def published(cls, share: float) -> VFlowOpt:
        """The release's setting for a mean of 10 %, 25 % or 50 % of tokens over layers."""
        share = fitted("share", share, Annotated[float, OneOf(tuple(FITTED))])
        retain, ratios = FITTED[share]
        return cls(retain=retain, ratios=ratios)

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `tower_layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.tower_layer, even=True),)

    def select(self, visual: VisualTokens) -> Selection:
        """Rank by the tower's attention; newline tokens come last."""
        import torch

        from todre.methods.views.visual_tokens import Selection

        scores = visual.signal(*self.signals()).nan_to_num(-1.0)
        order, count = best(scores, len(visual)), budget(self.retain, len(visual))
        keep = torch.zeros(len(visual), dtype=torch.bool, device=scores.device)
        keep[order[:count]] = True
        embeddings = visual.embeddings
        if self.recycle and 1 < count < len(visual):
            embeddings = embeddings.clone()
            embeddings[order[count - 1]] = _mixed(embeddings, scores, order[count - 1 :]).to(embeddings.dtype)
        return Selection(keep, embeddings)

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after each of `layers`."""
        return resolve_layers(self.layers, n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank by attention from the last token."""
        from todre.methods.views.reduction import Reduction

        number = stage_at(resolve_stages(self.layers, context.n_layers), context.layer)
        share = 1.0
        for ratio in self.ratios[: number + 1]:
            share *= ratio
        counts = row_counts(context, lambda entered: budget(share, entered))
        scores = context.last_scores()
        keep, hidden = context.keep_top(scores, counts), context.hidden.clone()
        for row, count in enumerate(counts.tolist()):
            slots = fresh_slots(context, row)
            if self.recycle and 1 < count < len(slots):
                columns = columns_of(context, slots)
                order = best(scores[row, slots], len(slots))[count - 1 :]
                mixed = _mixed(context.hidden[row, columns], scores[row, slots], order)
                hidden[row, columns[order[0]]] = mixed.to(hidden.dtype)
        return Reduction(keep, hidden=hidden if self.recycle else None, left=remaining_counts(context, counts))


def _mixed(states: Tensor, scores: Tensor, index: Tensor) -> Tensor:
    """Mean of the states at `index`, weighted by their scores, (d,).

    The mean is plain where all scores are 0.
    """
    weights = scores[index].float().clamp(min=0)
    weights = weights + (weights.sum() <= 0)
    return (weights[:, None] * states[index].float()).sum(dim=0) / weights.sum()
