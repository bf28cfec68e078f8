"""AgilePruner's growing threshold, with settings of our own where it prints none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import Range
from todre.fields.kinds import Attention, Positive
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

Distance = Annotated[float, Range(least=0, most=2, called="a cosine distance")]


@dataclass(frozen=True, kw_only=True)
class AgileThreshold(Method):
    """Keep attended tokens that are unlike those before, the more so as more are kept.

    A variant of our own on the threshold of "AgilePruner: An Empirical Study of Attention and Diversity for Adaptive
    Visual Token Pruning in Large Vision-Language Models" (arXiv 2603.01236, the project page's formula; no code is
    published). In each tile the most attended token that is left is kept, and tokens whose cosine distance to it is
    below τ_i = min(most, step·i·ratio) are deleted, where i counts the kept tokens from 1. The ratio is the effective
    rank of the tile's embeddings, the exponential of the entropy of their singular values divided by their sum, over
    `average_rank`: the richer a picture, the more diverse its tokens. If the list runs out, the most attended of the
    deleted tokens fill the budget. All cosines of one tile's tokens are held.

    The paper's τ_max and the average rank, which depends on the model, are not published. Our `most` is a guess, and
    without `average_rank` the ratio is 1, so that τ grows alike for every picture: measure it on the model's pictures
    (`todre.select.effective_rank`) for the rule that the paper describes. Do not expect the paper's numbers.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions, rounded by
            largest remainder; newline tokens are kept first, within the budget (unless they alone would use it up).
        step: growth of τ with each kept token, 0.01 on the project page.
        most: the largest τ, a cosine distance; ours.
        average_rank: mean effective rank of the model's tiles, above 0; None takes a ratio of 1.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention is read; ours.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    step: Positive = 0.01
    most: Distance = 0.3
    average_rank: Positive | None = None
    attention: Attention = "auto"
    layer: int = -2

    name: ClassVar[str] = "agile-threshold"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "by attention, under a growing threshold (after AgilePruner)"
    paper: ClassVar[str] = "arXiv 2603.01236"
    card: ClassVar[Card] = Card(
        venue="ICLR 2026",
        acts=("select",),
        needs=("received",),
        follows="This project's own variant, not AgilePruner: only the threshold's formula is known, from the project "
        "page. Not published are the largest threshold and the average rank, so both are settings of ours (0.3, and "
        "none: the threshold then grows alike for every picture); ours, too, are the features (projected embeddings "
        "of a tile), the tower's layer, and filling up by attention where the list runs out.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Walk each tile's tokens in the order of attention."""
        from todre.methods.shared.grouping import newlines_first, tile_shares

        attention = visual.signal(*self.signals())
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        for tile, share in tile_shares(visual, room):
            if share in (0, len(tile)):
                keep[tile] = share > 0
                continue
            chosen = self._chosen(visual.embeddings[tile], attention[tile].cpu(), share)
            keep[tile[visual.here(chosen)]] = True
        return keep

    def _chosen(self, x: Tensor, attention: Tensor, share: int) -> Tensor:
        """Indices of the kept tokens of one tile, (share,) int64 on the CPU."""
        import torch

        from todre.methods.shared.grouping import best
        from todre.select import effective_rank, gram, unsuppressed

        ratio = 1.0 if self.average_rank is None else effective_rank(x) / self.average_rank
        order = best(attention, len(x))
        kept = unsuppressed(gram(x), order, lambda i: 1 - min(self.most, self.step * i * ratio), share)
        return torch.cat([kept, order[~torch.isin(order, kept)][: share - len(kept)]])
