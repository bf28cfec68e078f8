"""DART: a few pivots, and the tokens that duplicate them least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Count, Layer, Natural, Retain
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting
from todre.methods.shared.grouping import best
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import columns_of, counts_left, fresh_slots, remaining_counts, text_columns

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class DART(Method):
    """Keep a few pivots, and the other visual tokens that resemble the pivots least.

    Based on "Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More" (DART, arXiv
    2502.11494). Pivots are the tokens whose keys have the largest L1 norm, first visual tokens, then text tokens. Each
    pivot in turn takes its share of the budget: the free tokens with the lowest cosine to it.

    Args:
        retain: visual tokens left after `layer`, pivots included, a fraction of those that entered or a count.
        layer: layers run before tokens leave, a count or a fraction of the depth.
        image_pivots: number of pivots among visual tokens; fewer if the budget is smaller.
        text_pivots: number of pivots among the text after the picture; fewer if there is less text.
        counting: what `retain` counts: `input`, the tokens left after `layer`; `layer-average`, their mean over all
            layers.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.1
    layer: Layer = 2
    image_pivots: Count = 4
    text_pivots: Natural = 4
    counting: Counting = "input"

    name: ClassVar[str] = "dart"
    summary: ClassVar[str] = "after layer 2, what duplicates a few pivots least"
    paper: ClassVar[str] = "arXiv 2502.11494"
    card: ClassVar[Card] = Card(
        venue="EMNLP 2025",
        acts=("reduce",),
        needs=("attention", "hidden"),
        follows=(
            "The port in llmc, as the original repository is gone: keys with positions applied, 4 + 4 pivots. It "
            "rounds each pivot's share down; here the first pivots take what is left, so that the budget is met. "
            "Cosines are of hidden states before the model's final norm, which scales channels by learnt weights."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act once, after `layer`."""
        return resolve_layers((self.layer,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Choose and keep tokens, each row on its own."""
        from todre.methods.views.reduction import Reduction

        counts = counts_left(context, self.retain, self.counting)
        norms = context.attention().key.float().abs().sum(dim=(1, 3))
        keep = ~context.fresh
        for row, count in enumerate(counts.tolist()):
            slots = fresh_slots(context, row)
            keep[row, slots[self._choose(context, row, norms[row], min(count, len(slots)))]] = True
        return Reduction(keep, left=remaining_counts(context, counts))

    def _choose(self, context: ReduceContext, row: int, norms: Tensor, count: int) -> Tensor:
        """The `count` chosen tokens, as indices into the row's fresh visual tokens."""
        import torch

        from todre.tensors.transfer import known_places

        slots = fresh_slots(context, row)
        columns = columns_of(context, slots)
        texts = text_columns(context, row)
        images = best(norms[slots], min(self.image_pivots, count))
        questions = best(norms[texts + (context.kinds.shape[1] - context.queries)], self.text_pivots)
        pivots = torch.cat([columns[images], texts[questions]])
        unit = torch.nn.functional.normalize(context.hidden[row].float(), dim=-1)
        taken = torch.zeros(len(slots), dtype=torch.bool, device=slots.device)
        taken[images] = True
        share, spare = divmod(count - len(images), max(1, len(pivots)))
        for turn in range(len(pivots)):
            distance = (1 - (unit[columns] * unit[pivots[turn : turn + 1]]).sum(dim=-1)).masked_fill(
                taken, float("-inf")
            )
            taken[best(distance, share + (turn < spare))] = True
        return known_places(taken, count)
