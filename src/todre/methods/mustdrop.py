"""MustDrop inside the LLM: drop tokens that no text token attends to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.errors import UnsupportedInputError
from todre.fields import OneOf, fitted
from todre.fields.kinds import Attended, Layers, Share
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import row_counts

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction
    from todre.tensors.token_facts import Signal

THRESHOLDS = {192: (0.001, 0.001), 128: (0.0012, 0.001), 64: (0.011, 0.01)}
"""Total and single threshold for LLaVA-1.5, keyed by the release's mean of tokens."""


@dataclass(frozen=True, kw_only=True)
class MustDrop(Method):
    """Drop the visual tokens that neither all text nor any text token attends to.

    Based on "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (MustDrop, arXiv
    2411.10803), its stage in prefill. After each of a few layers a token is dropped if two conditions hold: the
    attention that the text as a whole pays to it is below the share `total_threshold` of what the text pays to all
    visual tokens; and no text token's attention to it reaches `single_threshold`. The tokens that the vision tower's
    last layer attends to most, the paper's key set, are never dropped.

    Args:
        total_threshold: the paper's global θ, a share of the attention that the text pays to all visual tokens.
        single_threshold: the paper's individual θ, the attention of one text token, averaged over heads.
        protected: size of the key set, a share of the visual tokens that entered, rounded up. Its tokens have the most
            attention from [CLS] in the tower's last layer, or the most received attention where there is no [CLS]. The
            key set is empty for 0.0, and where no attention of the tower is known.
        layers: layers run before each stage, counts or fractions of the depth.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    total_threshold: Attended = 0.001
    single_threshold: Attended = 0.001
    protected: Share = 0.08
    layers: Layers = (3 / 32, 7 / 32, 11 / 32, 15 / 32)

    name: ClassVar[str] = "mustdrop"
    summary: ClassVar[str] = "drops what no text attends to, at four layers (prefill stage)"
    paper: ClassVar[str] = "arXiv 2411.10803"
    card: ClassVar[Card] = Card(
        acts=("reduce",),
        needs=("text", "attention"),
        budget="Depends on the data: thresholds decide, and anything from no token to all but the key set is dropped.",
        follows=(
            "The code's filter and key set, after the layers with index 2, 6, 10 and 14 have run; a sample's pictures "
            "share one key set. Its merging in the tower and the trimming of earlier caches are left out."
        ),
    )

    @classmethod
    def published(cls, tokens: int) -> MustDrop:
        """Thresholds that leave 192, 128 or 64 of LLaVA-1.5's 576 tokens on average.

        The average is over samples and layers.
        """
        tokens = fitted("tokens", tokens, Annotated[int, OneOf(tuple(THRESHOLDS))])
        total, single = THRESHOLDS[tokens]
        return cls(total_threshold=total, single_threshold=single)

    def signals(self) -> tuple[Signal, ...]:
        """Request the last layer's attention, unless nothing is protected."""
        from todre.tensors.token_facts import Signal

        return (Signal("auto", -1, even=True),) if self.protected else ()

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after each of `layers`."""
        return resolve_layers(self.layers, n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Drop tokens below both thresholds; rows without text lose nothing."""
        import torch

        from todre.methods.views.reduction import Reduction

        text, fresh = context.text_rows, context.fresh
        total = torch.zeros(fresh.shape, device=fresh.device, dtype=torch.float32)
        peak = torch.zeros_like(total)
        for column in text.any(dim=0).nonzero().flatten().tolist():
            one = torch.zeros_like(text)
            one[:, column] = text[:, column]
            paid = context.scores(one)
            total, peak = total + paid, torch.maximum(peak, paid)
        together = total.masked_fill(~fresh, 0.0).sum(dim=1, keepdim=True)
        idle = (total < self.total_threshold * together) & (peak < self.single_threshold)
        return Reduction(~(fresh & idle & text.any(dim=1, keepdim=True)) | self._key_set(context))

    def _key_set(self, context: ReduceContext) -> Tensor:
        """Fresh visual slots that must stay, (b, s) bool."""
        import torch

        none = torch.zeros_like(context.fresh)
        if not self.protected:
            return none
        try:
            (request,) = self.signals()
            paid = context.signal(request)
        except UnsupportedInputError:
            return none
        known = ~paid.isnan()
        counts = row_counts(context, lambda entered: math.ceil(self.protected * entered - 1e-9))
        return context.keep_top(paid.masked_fill(~known, float("-inf")), counts) & known
