"""VTW: no visual token after a fixed layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Layer
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.layers import resolve_layers

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class VTW(Method):
    """Drop every visual token after a fixed layer.

    Based on "Boosting Multimodal Large Language Models with Visual Tokens Withdrawal for Rapid Inference" (VTW, arXiv
    2405.05803). ToDRE's stage 2 is VTW with a condition on each sample.

    Args:
        layer: layers run with visual tokens (the paper's K), a count or a fraction of the depth. The paper searches it
            for each model and finds 15 of 32 for LLaVA-1.5-7B; `todre.calibrate` has that search.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    layer: Layer = 15 / 32

    name: ClassVar[str] = "vtw"
    summary: ClassVar[str] = "no visual token after a fixed layer"
    paper: ClassVar[str] = "arXiv 2405.05803"
    card: ClassVar[Card] = Card(
        venue="AAAI 2025",
        acts=("reduce",),
        needs=("text",),
        budget="Exact: every token up to the layer, none after it.",
        follows="The paper; a prompt without text after its last picture keeps everything, as nothing could read it.",
    )
    reads_attention: ClassVar[bool] = False

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act once, after `layer`."""
        return resolve_layers((self.layer,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Drop all visual tokens in the rows that have text after a picture."""
        from todre.methods.views.reduction import Reduction

        drops = [count > 0 for count in context.text_counts]
        asked = context.text_rows.any(dim=1, keepdim=True)
        fresh, earlier = (
            [0 if gone else count for gone, count in zip(drops, counts, strict=True)]
            for counts in (context.fresh_counts, context.earlier_counts)
        )
        return Reduction(~(context.visual & asked), left=fresh, earlier=earlier)
