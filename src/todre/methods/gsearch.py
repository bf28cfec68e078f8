"""G-Search: each decoder layer sees its own fitted share of the visual tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.per_layer import Table, check_depth, check_falling, tokens_of
from todre.methods.shared.query_rows import row_counts

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction

QueryRows = Literal["last", "text"]


@dataclass(frozen=True, kw_only=True)
class GSearch(Method):
    """Keep in each layer a fitted share of the visual tokens, ranked one layer before.

    Based on "Accelerating Multimodal Large Language Models by Searching Optimal Vision Token Reduction" (G-Search,
    arXiv 2412.00556), which finds that layers agree on the ranks of tokens. `todre.calibrate` searches the shares.

    Args:
        kept: visual tokens that each decoder layer sees: shares of those that entered, or counts, not rising. Empty
            until fitted; the first layer sees all tokens, whatever its number.
        asking: whose attention ranks: the prompt's last token, or all text after the picture.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    kept: Table = ()
    asking: QueryRows = "last"

    name: ClassVar[str] = "g-search"
    summary: ClassVar[str] = "each layer's own fitted share of the tokens"
    paper: ClassVar[str] = "arXiv 2412.00556v2"
    card: ClassVar[Card] = Card(
        venue="CVPR 2025",
        acts=("reduce",),
        needs=("attention", "calibration"),
        budget="As fitted: exactly the numbers in `kept`.",
        follows=(
            "The abstract and a review; no code was found. Which queries rank, and how heads are pooled, is not known: "
            "the last token and the mean are ours."
        ),
    )

    def __post_init__(self) -> None:
        check_falling(self, "kept")

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after the layers whose successor sees fewer tokens."""
        check_depth(self.name, "kept", self.kept, n_layers)
        # The first layer sees the share 1.0; the count 1 equals it as a number, and is something else.
        seen = [(float, 1.0), *((type(value), value) for value in self.kept[1:])]
        return tuple(layer for layer in range(1, n_layers) if seen[layer] != seen[layer - 1])

    def reduce(self, context: ReduceContext) -> Reduction:
        """Keep the number of tokens that the next layer is to see."""
        share = self.kept[min(context.layer, len(self.kept) - 1)]
        counts = row_counts(context, lambda entered: tokens_of(share, entered))
        return context.best(scores_of(context, self.asking), counts)


def scores_of(context: ReduceContext, asking: QueryRows) -> Tensor:
    """Attention from the last token, or from all text after the picture.

    A row without such text is scored from its last token.

    Returns:
        (b, s) float32.
    """
    import torch

    if asking == "last":
        return context.last_scores()
    text = context.text_rows
    asked = torch.where(text.any(dim=1, keepdim=True), text, context.last_row)
    return context.scores(asked, places=context.query_places)
