"""PruMerge and PruMerge+: tokens of outstanding attention, the rest merged."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.fields.kinds import Attention, Natural
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, Preset, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class PruMerge(Method):
    """Keep the tokens of outstanding [CLS] attention, and merge the others into them.

    Based on "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models" (arXiv 2403.15388) and its
    code. A kept token becomes x_j + Σ a_i x_i over the `neighbours` tokens i whose keys are closest by cosine; a_i
    is the attention of token i. One more token, Σ a_i x_i over all tokens that are left out, takes the place of the
    most attended of these.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count, the token for the rest included
            (unless a tile keeps one in all). Tiles get equal fractions, rounded by largest remainder; newline tokens
            are kept first, within the budget (unless they alone would use it up). With None each tile decides, as in
            the paper: it keeps its outliers, the tokens more than 1.5 interquartile ranges above the third quartile, at
            least one, and the token for the rest; all newline tokens stay.
        spread: PruMerge+: also keep evenly spaced tokens. With `retain`, three for each outlier; otherwise every
            ⌊⌊1/ratio⌋/3⌋-th, where ratio is the share of outliers.
        neighbours: number of tokens added to each kept token.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention and keys are read, the last of CLIP-L in the code.
        positions, per: see `Method`.
    """

    retain: SelectRetain | None = None
    spread: bool = False
    neighbours: Natural = 32
    attention: Attention = "auto"
    layer: int = -1

    name: ClassVar[str] = "prumerge"
    exact: ClassVar[bool] = True  # where `retain` is given
    summary: ClassVar[str] = "outliers of [CLS] attention, each merged with its nearest"
    paper: ClassVar[str] = "arXiv 2403.15388"
    card: ClassVar[Card] = Card(
        venue="ICCV 2025",
        acts=("select",),
        needs=("received", "keys"),
        budget="Exact if `retain` is given; by default each tile's outliers decide, and there is no budget.",
        follows="The released code, but on projected embeddings, where that merges features before the projector; "
        "attention is a softmax for each head and keys are averaged over heads, where the code has one softmax over "
        "all heads side by side; kept tokens stay in order, and attention received replaces [CLS] where a tower has "
        "none.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention and keys of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer), Signal("keys", self.layer))

    def select(self, visual: VisualTokens) -> Selection:
        """Choose the tokens of each tile, and merge the others into them."""
        from todre.methods.shared.budgets import shares
        from todre.methods.shared.grouping import newlines_first, tiles
        from todre.methods.views.visual_tokens import Selection

        attention, keys = (visual.signal(request) for request in self.signals())
        found = tiles(visual)
        keep, quotas = visual.newline.clone(), [0] * len(found)
        if self.retain is not None:
            keep, room = newlines_first(visual, budget(self.retain, len(visual)))
            quotas = shares(room, [len(tile) for tile in found])
        embeddings = visual.embeddings.clone()
        for tile, quota in zip(found, quotas, strict=True):
            if self.retain is not None and quota in (0, len(tile)):
                keep[tile] = quota > 0
                continue
            weight = attention[tile].nan_to_num(0.0)
            chosen = self._adaptive(weight) if self.retain is None else self._exact(weight, quota)
            keep[tile[chosen]] = True
            embeddings[tile[chosen]] = self._merged(visual.embeddings[tile], weight, keys[tile], chosen)
            left = tile[~keep[tile]]
            if len(left) and quota != 1:
                seat = left[attention[left].nan_to_num(0.0).argmax()]
                rest = (attention[left].nan_to_num(0.0)[:, None] * visual.embeddings[left].float()).sum(dim=0)
                keep[seat] = True
                embeddings[seat] = rest.to(embeddings.dtype)
        return Selection(keep, embeddings)

    def _adaptive(self, attention: Tensor) -> Tensor:
        """Indices of one tile's outliers, and for PruMerge+ of evenly spaced tokens."""
        import torch

        from todre.methods.shared.grouping import best

        low, high = attention.double().quantile(0.25), attention.double().quantile(0.75)
        count = max(int((attention.double() > high + 1.5 * (high - low)).sum()), 1)
        chosen = torch.zeros(len(attention), dtype=torch.bool, device=attention.device)
        chosen[best(attention, count)] = True
        if self.spread:
            step = len(attention) // count
            chosen[step // 6 :: max(step // 3, 1)] = True
        return chosen.nonzero().flatten()

    def _exact(self, attention: Tensor, quota: int) -> Tensor:
        """Indices of one tile's kept tokens, without the token for the rest."""
        import torch

        from todre.methods.shared.grouping import best, spaced

        own = max(quota - 1, 1)
        count = -(-own // 4) if self.spread else own
        chosen = torch.zeros(len(attention), dtype=torch.bool, device=attention.device)
        chosen[best(attention, count)] = True
        rest = (~chosen).nonzero().flatten()
        if own > count:
            chosen[rest[spaced(len(rest), own - count)]] = True
        return chosen.nonzero().flatten()

    def _merged(self, embeddings: Tensor, attention: Tensor, keys: Tensor, chosen: Tensor) -> Tensor:
        """Embeddings of the chosen tokens with their nearest tokens added, (chosen, d).

        The nearest tokens may be kept ones or not; ties go to the first.
        """
        from torch.nn import functional

        unit = functional.normalize(keys.float(), dim=-1)
        near = unit[chosen] @ unit.T
        near.scatter_(1, chosen[:, None], float("-inf"))
        order = near.argsort(dim=1, descending=True, stable=True)[:, : min(self.neighbours, len(attention) - 1)]
        weight = attention.new_zeros(near.shape).scatter_(1, order, attention[order])
        return (embeddings[chosen].float() + weight @ embeddings.float()).to(embeddings.dtype)


PRESETS = (
    Preset(
        "prumerge-plus",
        functools.partial(PruMerge, spread=True),
        PruMerge,
        "PruMerge with evenly spaced tokens beside the outliers",
        "arXiv 2403.15388",
        settings=("retain", "neighbours", "attention", "layer", "positions", "per"),
    ),
)
