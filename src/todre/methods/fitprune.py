"""FitPrune: after each layer, delete the tokens that change attention least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.per_layer import Table, check_depth, tokens_of
from todre.methods.shared.query_rows import row_counts

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class FitPrune(Method):
    """Delete after each layer a fitted number of the least attended tokens.

    Based on "Fit and Prune: Fast and Training-free Visual Token Pruning for Multi-modal Large Language Models"
    (FitPrune, arXiv 2409.10197). Tokens with the smallest product of cross and self attention are deleted. Cross
    attention is what a visual token gets from the text, self attention what it gets from the visual tokens, each the
    maximum over heads, summed over queries. `todre.calibrate` fits `deletions`.

    Args:
        deletions: visual tokens deleted after each decoder layer: counts, or shares of those that entered. Empty until
            fitted; the last layer's number has no effect.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    deletions: Table = ()

    name: ClassVar[str] = "fitprune"
    summary: ClassVar[str] = "a fitted number of tokens after each layer"
    paper: ClassVar[str] = "arXiv 2409.10197"
    card: ClassVar[Card] = Card(
        venue="AAAI 2025",
        acts=("reduce",),
        needs=("attention", "calibration"),
        budget="As fitted: exactly the numbers in `deletions`.",
        follows=(
            "The code: sums of the head-wise maximum of attention. It deletes inside a layer, between its attention "
            "and its feed-forward part; here tokens leave after the layer. Without text the last token asks."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after the layers with deletions."""
        check_depth(self.name, "deletions", self.deletions, n_layers)
        return tuple(layer for layer in range(1, n_layers) if self.deletions[layer - 1])

    def reduce(self, context: ReduceContext) -> Reduction:
        """Delete the tokens with the lowest products.

        Counts are computed for all layers so far together, so that shares add up exactly.
        """
        import torch

        from todre.tensors.columns import VISUAL

        gone = self.deletions[: context.layer]
        counts = row_counts(context, lambda entered: max(0, entered - _total(gone, entered)))
        text = context.text_rows
        cross = context.scores(
            torch.where(text.any(dim=1, keepdim=True), text, context.last_row), "max", context.query_places
        )
        own = context.scores(context.fresh[:, -context.queries :], "max", context.places(VISUAL))
        return context.best(cross * own, counts)


def _total(values: tuple[float, ...], entered: int) -> int:
    """Sum of counts and shares; shares are summed before they are rounded."""
    shares = sum(value for value in values if isinstance(value, float))
    return sum(value for value in values if isinstance(value, int)) + tokens_of(float(shares), entered)
