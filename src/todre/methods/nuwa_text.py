"""Nüwa's second stage: halfway through the LLM, keep tokens like the text."""

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
class NuwaText(Method):
    """Keep halfway through the LLM the visual tokens most like the mean text token.

    Based on "Nüwa: Mending the Spatial Integrity Torn by VLM Token Pruning" (arXiv 2602.02951), stage 2.

    Args:
        retain: visual tokens left after `layer`, a fraction of those that entered the LLM or a count.
        layer: layers run before tokens leave, a count or a fraction of the depth.
        counting: what `retain` counts: `input`, the tokens left after `layer`; `layer-average`, their mean over all
            layers, if no tokens leave earlier.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.1
    layer: Layer = 1 / 2
    counting: Counting = "input"

    name: ClassVar[str] = "nuwa-text"
    summary: ClassVar[str] = "halfway through, the tokens most like the text (Nüwa's stage 2)"
    paper: ClassVar[str] = "arXiv 2602.02951"
    card: ClassVar[Card] = Card(
        venue="ICLR 2026",
        acts=("reduce",),
        needs=("text", "hidden"),
        follows=(
            "The paper, with hidden states of the same layer on both sides; the text is what follows the first "
            "picture. The layer is not printed; half the depth is ours."
        ),
    )
    reads_attention: ClassVar[bool] = False

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act once, after `layer`."""
        return resolve_layers((self.layer,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank by cosine with the mean text token.

        A row without text after its picture ranks by cosine with its last token.
        """
        import torch

        from todre.tensors.transfer import known_places

        counts = counts_left(context, self.retain, self.counting)
        hidden = context.hidden.float()
        text = context.text_rows
        text = torch.where(text.any(dim=1, keepdim=True), text, context.last_row)
        total = torch.zeros_like(hidden[:, 0])
        for row, count in enumerate(context.text_counts):
            total[row] = hidden[row, known_places(text[row], count or 1)].sum(dim=0)
        scores = torch.nn.functional.cosine_similarity(hidden, total[:, None], dim=-1)
        earlier = context.kinds.shape[1] - context.queries
        return context.best(torch.nn.functional.pad(scores, (earlier, 0)), counts)
