"""FiCoCo-L: fold redundant tokens into correlated ones, in most layers of the LLM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Layer, Retain, Share
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting, ramp
from todre.methods.shared.grouping import best
from todre.methods.shared.layers import resolve_layer
from todre.methods.shared.query_rows import columns_of, fresh_slots, remaining_counts, row_counts, text_columns

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.tensors.attention import AttentionInputs

_ROWS_AT_ONCE = 128


@dataclass(frozen=True, kw_only=True)
class FiCoCoL(Method):
    """Fold the most redundant visual tokens into those that they correlate with.

    Based on "Filter, Correlate, Compress: Training-Free Token Reduction for MLLM Acceleration" (FiCoCo-L, arXiv
    2411.17686v4). Z are the attention logits before the causal mask, averaged over heads. A token's redundancy is its
    mean Z with the visual tokens minus its mean Z with the text. Its correlation with another token is the direct Z
    plus the Z by way of the text. Each discarded token goes to the few best correlated survivors, x_j ← (x_j + Σ w_ij
    x_i) / (1 + Σ w_ij).

    Args:
        retain: visual tokens left after the last acting layer, a fraction of those that entered or a count; the
            release's 14 per layer are 0.34 of 576. Every acting layer drops the same number.
        start: layers run before the first layer that drops tokens, a count or a fraction of the depth.
        redundancy: weight of the visual part of the redundancy; the text part has the rest.
        direct: weight of the direct part of the correlation; the part by way of the text has the rest.
        quantile: a discarded token goes to the survivors above this quantile of its correlations.
        counting: what `retain` counts: `input`, the tokens left in the end; `layer-average`, their mean over all
            layers.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 1 / 3
    start: Layer = 6 / 32
    redundancy: Share = 0.6
    direct: Share = 0.6
    quantile: Share = 0.998
    counting: Counting = "input"

    name: ClassVar[str] = "ficoco-l"
    summary: ClassVar[str] = "redundant tokens folded into others, a few in each layer"
    paper: ClassVar[str] = "arXiv 2411.17686v4"
    card: ClassVar[Card] = Card(
        venue="AAAI 2026",
        acts=("reduce",),
        needs=("attention", "hidden"),
        budget="Exact; with counting='layer-average' at most the mean, and less than one token below it.",
        follows=(
            "The release, with its faults left out: targets are survivors only, sums are divided by their weights as "
            "in FiCoCo-V, order and positions stay. It sums Z over visual tokens and averages it over text, which then "
            "hardly counts; here both are means. It acts inside a layer, here after it."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after every layer from `start` on, except the last."""
        return tuple(range(resolve_layer(self.start, n_layers), n_layers))

    def reduce(self, context: ReduceContext) -> Reduction:
        """Fold the redundant tokens of each row."""
        from todre.methods.views.reduction import Reduction

        layers = self.reduce_after(context.n_layers)
        place = next((index for index, layer in enumerate(layers) if layer >= context.layer), len(layers) - 1)
        counts = row_counts(
            context, lambda entered: ramp(self.retain, self.counting, entered, layers, context.n_layers)[place]
        )
        keep, hidden = ~context.fresh, context.hidden.clone()
        for row, count in enumerate(counts.tolist()):
            slots = fresh_slots(context, row)
            if count >= len(slots):
                keep[row] = True
                continue
            columns, text = columns_of(context, slots), text_columns(context, row)
            q, k = _joined(context.attention(), row, context.queries)
            gone = best(self._redundancies(q, k, columns, text), len(slots) - count).sort().values
            left = slots.new_ones(len(slots)).bool()
            left[gone] = False
            keep[row, slots[left]] = True
            targets = columns[left]
            if len(targets):
                states = self._compressed(context.hidden[row].float(), q, k, (columns[gone], targets, text))
                hidden[row, targets] = states.to(hidden.dtype)
        return Reduction(keep, hidden=hidden, left=remaining_counts(context, counts))

    def _redundancies(self, q: Tensor, k: Tensor, visual: Tensor, text: Tensor) -> Tensor:
        """Redundancy of each visual token, (n,).

        Means of Z are computed as products with mean keys.
        """
        result = self.redundancy * (q[visual] @ k[visual].mean(dim=0))
        return result - (1 - self.redundancy) * (q[visual] @ k[text].mean(dim=0)) if len(text) else result

    def _compressed(self, states: Tensor, q: Tensor, k: Tensor, who: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """States of the survivors with the folded tokens added, (m, d)."""
        import torch

        gone, targets, text = who
        several = max(1, math.ceil((1 - self.quantile) * (len(targets) - 1) - 1e-9))
        total, weight = states[targets].clone(), torch.ones(len(targets), device=states.device, dtype=torch.float32)
        for block in gone.split(_ROWS_AT_ONCE):
            by_text = (q[block] @ k[text].T) @ (q[text] @ k[targets].T)
            correlation = self.direct * (q[block] @ k[targets].T) + (1 - self.direct) * by_text
            chosen = correlation.argsort(dim=1, descending=True, stable=True)[:, :several]
            shares = correlation.gather(1, chosen).softmax(dim=1)
            total.index_add_(0, chosen.flatten(), (shares[..., None] * states[block][:, None]).flatten(0, 1))
            weight.index_add_(0, chosen.flatten(), shares.flatten())
        return total / weight[:, None]


def _joined(inputs: AttentionInputs, row: int, queries: int) -> tuple[Tensor, Tensor]:
    """Queries and keys in flight; their products are the logits averaged over heads.

    Returns:
        Queries and keys, two tensors (q, c).
    """
    query, key = inputs.query[row].float(), inputs.key[row, :, -queries:].float()
    heads, groups = query.shape[0], key.shape[0]
    summed = query.unflatten(0, (groups, heads // groups)).sum(dim=1) * (inputs.scaling / heads)
    return summed.transpose(0, 1).flatten(1), key.transpose(0, 1).flatten(1)
