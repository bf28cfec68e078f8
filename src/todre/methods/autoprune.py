"""AutoPrune: each sample's own logistic curve over the layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.errors import UnsupportedInputError
from todre.fields import Range
from todre.fields.kinds import Positive, Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.budgets import left_over, stage_counts

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.tensors.token_facts import Signal

NotNegative = Annotated[float, Range(least=0)]

_LAYERS = _HEADS = 32  # of the decoder that the published constants were set for


@dataclass(frozen=True, kw_only=True)
class AutoPrune(Method):
    """Let tokens leave along a curve that is flatter where text and picture say more.

    Based on "Each Complexity Deserves a Pruning Policy" (AutoPrune, arXiv 2509.23931). After the first layer a cut by
    the vision tower's attention and the text's leaves at most `early` times `retain`. After the second layer the mutual
    information MI of text tokens and visual tokens is measured in that layer's attention. From then on the number of
    tokens after layer i (0-based) is proportional to 1 / (1 + exp(k (i - x0 - k))), with k = max(0, slope - response ·
    MI), at most what the first cut left, and with the mean over all layers that `retain` asks for. Tokens rank by the
    mean attention of all text after the picture. A row without such text asks its last token, whose MI is 0.

    The published constants are for 32 layers of 32 heads. For others, i is scaled by 32 over the number of layers, so
    that a deeper decoder has the same curve, stretched, and MI is 32 times its mean over heads.

    Args:
        retain: visual tokens that a layer sees, as a mean over all layers; a fraction of those that entered or a count.
        slope: k where MI is 0, for each 32nd of the depth.
        response: how much less k is for each bit of MI.
        midpoint: x0 in 32nds of the depth.
        early: most tokens after the first layer, in multiples of `retain`; never more than half of what the first layer
            leaves of the budget, which only tells in decoders of few layers, and for very small budgets.
        text_weight: weight of the text's attention in the first cut, before it is multiplied by the first layer's MI
            for each text token.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 0.25
    slope: NotNegative = 0.4
    response: NotNegative = 0.2
    midpoint: NotNegative = 14.9
    early: Positive = 2.5
    text_weight: NotNegative = 0.3

    name: ClassVar[str] = "autoprune"
    summary: ClassVar[str] = "along a curve over the layers, flatter where the text asks for more"
    paper: ClassVar[str] = "arXiv 2509.23931"
    card: ClassVar[Card] = Card(
        venue="NeurIPS 2025",
        acts=("reduce",),
        needs=("text", "attention"),
        budget=(
            "A mean over all layers, at most `retain` and less than one token below it; more where some layers have no "
            "full attention, as tokens cannot be ranked there."
        ),
        follows=(
            "The code's curve, information and first cut. It appends merged tokens, SparseVLM's recycling, and cuts "
            "position ids to a prefix; here nothing is merged and ids stay. It sums MI over heads and counts layers "
            "whatever their number; here both are brought to 32, where they agree with it. The first cut reads [CLS] "
            "attention of the tower's last layer but one, or received attention without a [CLS]; where neither is "
            "known, as at newline tokens, the text's attention alone counts. Received attention is a share of a "
            "picture, so that of several pictures the smaller ones' tokens have more."
        ),
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of the layer that LLaVA takes its features from."""
        from todre.tensors.token_facts import Signal

        return (Signal("auto", -2),)

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after every layer but the last."""
        return tuple(range(1, n_layers))

    def reduce(self, context: ReduceContext) -> Reduction:
        """Keep the number of tokens that the next layer is to see."""
        import torch

        asked, layer = _asked(context), min(context.layer, context.n_layers - 1)
        scores = context.scores(asked, places=context.query_places)
        if layer == 1:
            plans = [self._cut(int(entered), context.n_layers) for entered in context.entered.tolist()]
            counts = torch.tensor(plans, dtype=torch.int64, device="cpu")
            return context.best(self._first_scores(context, asked, scores), counts)
        tables = context.memo if context.memo is not None else self._tables(context, asked)
        counts = torch.tensor([table[layer] for table in tables], dtype=torch.int64, device="cpu")
        return context.best(scores, counts, memo=tables)

    def counts(self, entered: int, n_layers: int, information: float) -> tuple[int, ...]:
        """Visual tokens that each layer sees.

        Args:
            entered: visual tokens that entered the decoder.
            n_layers: decoder layers.
            information: MI in bits, 32 times the mean over heads.

        Raises:
            InvalidValueError: the first layer alone takes more than the budget.
        """
        wanted, first = budget(self.retain, entered), self._cut(entered, n_layers)
        if wanted >= entered or n_layers == 1:
            return (entered,) * n_layers
        k = max(0.0, self.slope - self.response * information)
        places = range(1, n_layers - 1)
        shape = [_fall(k * (_LAYERS * place / n_layers - self.midpoint - k)) for place in places]
        mean = left_over(wanted, entered, 1, n_layers) / (n_layers - 1)
        return (entered, first, *stage_counts(mean, first, places, shape, n_layers - 1))

    def _cut(self, entered: int, n_layers: int) -> int:
        """Tokens left after the first layer."""
        wanted = budget(self.retain, entered)
        if wanted >= entered or n_layers == 1:
            return entered
        spare = left_over(wanted, entered, 1, n_layers) / (2 if n_layers > 2 else 1)
        return min(entered, math.floor(self.early * wanted + 1e-9), math.floor(spare + 1e-9))

    def _tables(self, context: ReduceContext, asked: Tensor) -> list[tuple[int, ...]]:
        """For each row, the tokens that each layer sees; the device is read once."""
        from todre.tensors.transfer import fetch

        (bits,) = fetch([_information(context, asked)])
        entered = context.entered.tolist()
        return [self.counts(int(n), context.n_layers, mi) for n, mi in zip(entered, bits.tolist(), strict=True)]

    def _first_scores(self, context: ReduceContext, asked: Tensor, scores: Tensor) -> Tensor:
        """The tower's attention, plus what the text pays, weighted; (b, s) float32."""
        import torch

        number = asked.sum(dim=1, keepdim=True).clamp(min=1)
        paid = scores / number * _information(context, asked)[:, None] / number * self.text_weight
        (request,) = self.signals()
        try:
            tower = context.signal(request)
        except UnsupportedInputError:
            return scores
        known = (~tower.isnan()).any(dim=1, keepdim=True)
        # By itself the text needs no weight, which is 0 where the MI is.
        return torch.where(known, tower.nan_to_num(0.0) + paid, scores)


def _asked(context: ReduceContext) -> Tensor:
    """The text after the picture, or the last token of a row without; (b, q) bool."""
    import torch

    text = context.text_rows
    return torch.where(text.any(dim=1, keepdim=True), text, context.last_row)


def _information(context: ReduceContext, asked: Tensor) -> Tensor:
    """MI of text tokens and visual tokens of this forward, brought to 32 heads; (b,)."""
    from todre.tensors.attention import attention_information
    from todre.tensors.columns import PAD

    mean = attention_information(context.attention(), asked, context.fresh, context.kinds != PAD, context.query_places)
    return _HEADS * mean


def _fall(x: float) -> float:
    """1 / (1 + exp(x)), without overflow."""
    return 0.5 * (1.0 - math.tanh(x / 2.0))
