"""VisionZip: dominant tokens by attention, the others merged into a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.fields.kinds import Attention, Share
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class VisionZip(Method):
    """Keep the dominant tokens by [CLS] attention, and merge the rest.

    Based on "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (arXiv 2412.04467) and its code.
    Of the tokens that are not dominant, every step-th becomes a contextual token. Every other one goes to the
    contextual token whose key, averaged over heads, is closest by cosine. A contextual token becomes itself plus the
    mean of the tokens that went to it.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions, rounded by
            largest remainder; newline tokens are kept first, within the budget (unless they alone would use it up).
        dominant: share of the budget that is dominant, 0 to 1; the paper's 54 of 64, 108 of 128 and 162 of 192.
        merged: whether a contextual token becomes the `sum` of itself and the mean of the tokens that went to it, as in
            the code, or the `mean` of both.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention and keys are read; -2 is where LLaVA takes its features from.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    dominant: Share = 54 / 64
    merged: Literal["sum", "mean"] = "sum"
    attention: Attention = "auto"
    layer: int = -2

    name: ClassVar[str] = "visionzip"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "dominant tokens by [CLS] attention, the rest merged by keys"
    paper: ClassVar[str] = "arXiv 2412.04467"
    card: ClassVar[Card] = Card(
        venue="CVPR 2025",
        acts=("select",),
        needs=("received", "keys"),
        follows="The released code, but on projected embeddings, where that merges features before the projector; "
        "the feature of [CLS], which takes one of its dominant places, is not among the visual tokens here, and "
        "attention received replaces [CLS] where a tower has none.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention and keys of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer), Signal("keys", self.layer))

    def select(self, visual: VisualTokens) -> Selection:
        """Keep in each tile the dominant tokens, then the contextual ones."""
        from todre.methods.shared.grouping import best, newlines_first, tile_shares
        from todre.methods.views.visual_tokens import Selection

        attention, keys = (visual.signal(request) for request in self.signals())
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        embeddings = visual.embeddings.clone()
        for tile, share in tile_shares(visual, room):
            count = min(round(share * self.dominant), share)
            dominant = tile[best(attention[tile], count)]
            keep[dominant] = True
            rest = tile[~keep[tile]]
            if share == count or not len(rest):
                continue
            step = max(len(rest) // (share - count), 1)
            target = rest[::step][: share - count]
            keep[target] = True
            others = rest[~keep[rest]]
            embeddings[target] = self._contextual(visual.embeddings, keys, target, others)
        return Selection(keep, embeddings)

    def _contextual(self, embeddings: Tensor, keys: Tensor, target: Tensor, others: Tensor) -> Tensor:
        """Embeddings of the targets with the other tokens merged into them, (targets, d).

        Ties go to the first target.
        """
        from torch.nn import functional

        unit = functional.normalize(keys.float(), dim=-1)
        where = (unit[others] @ unit[target].T).argmax(dim=1)
        own = embeddings[target].float()
        count = own.new_zeros(len(target)).index_add(0, where, own.new_ones(len(others)))
        total = own.new_zeros(own.shape).index_add(0, where, embeddings[others].float())
        contextual = own + total / count.clamp(min=1)[:, None]
        if self.merged == "mean":
            contextual = contextual / (1 + (count > 0).float())[:, None]
        return contextual.to(embeddings.dtype)
