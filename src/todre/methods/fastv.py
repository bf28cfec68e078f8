"""FastV: early in the LLM, keep tokens that the prompt's last token attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Layer, Retain
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import counts_left

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class FastV(Method):
    """Keep the visual tokens that the prompt's last token attends to most.

    Based on "An Image is Worth 1/2 Tokens After Layer 2" (FastV, arXiv 2403.06764). The paper's R is 1 - retain.

    Args:
        retain: visual tokens left after `layer`, a fraction of those that entered or a count; the paper has 0.5 and
            0.25.
        layer: layers run with all tokens (the paper's K), a count or a fraction of the depth; the attention is
            that of the last of these layers.
        counting: what `retain` counts: `input`, the tokens left after `layer`; `layer-average`, their mean over all
            layers, as later tables print it.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.5
    layer: Layer = 2
    counting: Counting = "input"

    name: ClassVar[str] = "fastv"
    summary: ClassVar[str] = "after layer 2, what the last token attends to most"
    paper: ClassVar[str] = "arXiv 2403.06764"
    card: ClassVar[Card] = Card(
        venue="ECCV 2024",
        acts=("reduce",),
        needs=("attention",),
        follows=(
            "The port that prunes once, in prefill, with K = 2 as in the paper (the port's example has 3); the first "
            "release ranked anew at each step and saved nothing. The last token is each row's last real one."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act once, after `layer`."""
        return resolve_layers((self.layer,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank by head-mean attention from the last token."""
        counts = counts_left(context, self.retain, self.counting)
        return context.best(context.last_scores(), counts)
