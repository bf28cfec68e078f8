"""PyramidDrop: fewer visual tokens at each quarter of the depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Layers, Retain
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting, pyramid
from todre.methods.shared.layers import resolve_layers, resolve_stages, stage_at
from todre.methods.shared.query_rows import next_layer_scores, row_counts

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class PyramidDrop(Method):
    """Keep the same share of the visual tokens at each of a few layers.

    Based on "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction"
    (arXiv 2410.17247). Tokens rank by the attention that the prompt's last token would pay to them in the next layer.
    That layer's queries and keys are computed from the current hidden states, of the columns in flight alone.

    Args:
        retain: visual tokens left after the last stage, a fraction of those that entered or a count. Each stage keeps
            the same share of its tokens, the paper's λ: three stages with λ = 0.5 keep 1/8.
        layers: layers run before each stage, counts or fractions of the depth.
        counting: what `retain` counts: `input`, the tokens left after the last stage; `layer-average`, their mean over
            all layers, which is 270 of 576 for the paper's setting.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.125
    layers: Layers = (1 / 4, 1 / 2, 3 / 4)
    counting: Counting = "input"

    name: ClassVar[str] = "pyramiddrop"
    summary: ClassVar[str] = "half the tokens at each quarter of the depth"
    paper: ClassVar[str] = "arXiv 2410.17247"
    card: ClassVar[Card] = Card(
        venue="CVPR 2025",
        acts=("reduce",),
        needs=("attention", "hidden"),
        budget="Exact; with counting='layer-average' at most the mean, and less than one token below it.",
        follows=(
            "The code: softmax over all keys in flight, then the mean over heads. It renumbers the survivors' "
            "positions; here they stay. Keys of earlier turns take no part in the softmax."
        ),
    )
    reads_attention: ClassVar[bool] = False

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after each of `layers`, except the last layer, which has no next one."""
        return tuple(layer for layer in resolve_layers(self.layers, n_layers) if layer < n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank by the next layer's attention."""
        stages = resolve_stages(self.layers, context.n_layers)
        numbers = [number for _, number in stages]
        place = numbers.index(stage_at(stages, context.layer))
        counts = row_counts(
            context,
            lambda entered: pyramid(self.retain, self.counting, entered, stages, len(self.layers), context.n_layers)[
                place
            ],
        )
        return context.best(next_layer_scores(context), counts)
