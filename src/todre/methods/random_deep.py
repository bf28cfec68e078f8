"""Random tokens inside the LLM: the control for every ranking there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Layer, Retain, Seed
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import counts_left, fresh_slots, remaining_counts

if TYPE_CHECKING:
    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction


@dataclass(frozen=True, kw_only=True)
class RandomDeep(Method):
    """Keep visual tokens drawn uniformly after a layer.

    Based on "When Token Pruning is Worse than Random" (the Information Horizon, arXiv 2512.07580): past a depth of
    about 5/8 of LLaVA-1.5's layers no published ranking beats chance. The draw depends on the seed and on the number of
    tokens alone, so a batch gives what its samples give one by one.

    Args:
        retain: visual tokens left after `layer`, a fraction of those that entered the LLM or a count.
        layer: layers run before tokens leave, a count or a fraction of the depth; the paper has 20 of 32.
        counting: what `retain` counts: `input`, the tokens left after `layer`; `layer-average`, their mean over all
            layers, if no tokens leave earlier.
        seed: seed of the draw; report the mean over several, the paper over 3.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.1
    layer: Layer = 5 / 8
    counting: Counting = "input"
    seed: Seed = 0

    name: ClassVar[str] = "random-deep"
    summary: ClassVar[str] = "uniformly drawn tokens after a deep layer"
    paper: ClassVar[str] = "arXiv 2512.07580"
    card: ClassVar[Card] = Card(
        venue="CVPR 2026",
        acts=("reduce",),
        follows="The paper. Its code renumbers positions; here they stay. One draw for each seed and number of tokens: "
        "pictures of one size keep the same places, so take several seeds.",
    )
    reads_attention: ClassVar[bool] = False

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act once, after `layer`."""
        return resolve_layers((self.layer,), n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Draw tokens, each row on its own."""
        import torch

        from todre.methods.views.reduction import Reduction
        from todre.tensors.transfer import upload

        counts = counts_left(context, self.retain, self.counting)
        keep = ~context.fresh
        for row, count in enumerate(counts.tolist()):
            slots = fresh_slots(context, row)
            generator = torch.Generator().manual_seed(self.seed)
            drawn = torch.randperm(len(slots), generator=generator, dtype=torch.int64, device="cpu")[:count]
            keep[row, slots[upload(drawn, slots.device)]] = True
        return Reduction(keep, left=remaining_counts(context, counts))
