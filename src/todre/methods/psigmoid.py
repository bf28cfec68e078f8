"""P-Sigmoid: the share of tokens falls along a sigmoid over the layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Positive, Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.gsearch import QueryRows, scores_of
from todre.methods.shared.budgets import left_over
from todre.methods.shared.query_rows import row_counts

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class PSigmoid(Method):
    """Let the share of visual tokens fall over the layers along a sigmoid.

    Based on "Accelerating Multimodal Large Language Models by Searching Optimal Vision Token Reduction" (P-Sigmoid,
    arXiv 2412.00556). The first layer sees every token; layer i (0-based) sees the share 1 / (1 + exp(k (i - α))), with
    α such that the mean over all layers is `retain`. A very steep slope is VTW, a flat one FastV after layer 1.

    Args:
        retain: visual tokens that a layer sees, as a mean over all layers; a fraction of those that entered or a count.
        slope: k times the number of layers; `todre.calibrate` searches it.
        asking: whose attention ranks: the prompt's last token, or all text after the picture.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.25
    slope: Positive = 12.8
    asking: QueryRows = "last"

    name: ClassVar[str] = "p-sigmoid"
    summary: ClassVar[str] = "shares of the tokens that fall along a sigmoid"
    paper: ClassVar[str] = "arXiv 2412.00556v2"
    card: ClassVar[Card] = Card(
        venue="CVPR 2025",
        acts=("reduce",),
        needs=("attention",),
        budget="A mean over all layers, at most `retain` and less than one token below it.",
        follows=(
            "The abstract and a review; no code was found. The sigmoid printed there rises for k > 0; here it falls. "
            "That α follows from the budget is our reading. Ranked as in g-search."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after every layer but the last."""
        return tuple(range(1, n_layers))

    def reduce(self, context: ReduceContext) -> Reduction:
        """Keep the number of tokens that the next layer is to see."""
        layer = min(context.layer, context.n_layers - 1)
        counts = row_counts(context, lambda entered: self.counts(entered, context.n_layers)[layer])
        return context.best(scores_of(context, self.asking), counts)

    def counts(self, entered: int, n_layers: int) -> tuple[int, ...]:
        """Visual tokens that each layer sees.

        Args:
            entered: visual tokens that entered the decoder.
            n_layers: decoder layers.

        Raises:
            InvalidValueError: the first layer alone takes more than the budget.
        """
        wanted = budget(self.retain, entered)
        if wanted >= entered or n_layers == 1:
            return (entered,) * n_layers
        left = left_over(wanted, entered, 1, n_layers) / entered
        k = self.slope / n_layers
        low, high = -800.0 / k, n_layers + 800.0 / k
        for _ in range(100):
            middle = (low + high) / 2
            fits = sum(_fall(k * (layer - middle)) for layer in range(1, n_layers)) <= left
            low, high = (middle, high) if fits else (low, middle)
        shares = (_fall(k * (layer - low)) for layer in range(1, n_layers))
        return (entered, *(math.floor(share * entered + 1e-6) for share in shares))


def _fall(x: float) -> float:
    """1 / (1 + exp(x)), without overflow."""
    return 0.5 * (1.0 - math.tanh(x / 2.0))
