"""EViT: keep tokens that [CLS] attends to, fuse the rest, inside the vision tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.fields.kinds import Layers, Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.layers import resolve_layer
from todre.methods.shared.rates import geometric, left_after

if TYPE_CHECKING:
    from todre.methods.views.vision_tower import Merging, TowerContext

Fused = Literal["mean", "sum", "none"]


@dataclass(frozen=True, kw_only=True)
class EViT(Method):
    """Keep the tokens that [CLS] attends to, and fuse the others, inside the tower.

    Based on "Not All Patches are What You Need" (arXiv 2202.07800), without the training that it describes. At each of
    a few layers of the vision tower, the tokens that leave are fused into one.

    Args:
        retain: tokens kept of each tile, a fraction or a count, the fused token included. Each layer keeps the same
            share; 0.7 at each of three layers, as in the paper, is 0.343.
        layers: where tokens leave: counts of layers run, or fractions (rounded down, at least 1) of the layers up to
            the one that features are taken from. The default is after blocks 4, 7 and 10 of 12.
        fused: what the leaving tokens become: their `mean` weighted by attention; the `sum` of the paper's code, whose
            weights do not add up to 1 (its model was trained for that); or `none`.
        positions: see `Method`; nothing is chosen per sample, so `per` stays as it is.
    """

    retain: Retain = 0.343
    layers: Layers = (1 / 3, 7 / 12, 5 / 6)
    fused: Fused = "mean"

    name: ClassVar[str] = "evit"
    summary: ClassVar[str] = "what [CLS] attends to inside the vision tower, the rest fused"
    paper: ClassVar[str] = "arXiv 2202.07800"
    card: ClassVar[Card] = Card(
        venue="ICLR 2022",
        acts=("tower",),
        needs=("cls",),
        budget="Exact in the tower, for each tile; unpadding, newlines and pixel shuffle (a visual token stays if any "
        "part of it does) may keep more before the LLM.",
        follows="Untrained; fuses to a mean where the paper's code sums. Acts after a block, not between its attention "
        "and its MLP; tokens keep their order, and the fused token takes the place of the most attended token in it, "
        "because it needs a place to go on to the LLM.",
    )

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after each of `layers`, once."""
        floored = {max(1, int(each * n_layers + 1e-9)) if isinstance(each, float) else each for each in self.layers}
        return tuple(sorted(resolve_layer(layer, n_layers) for layer in floored))

    def merge(self, context: TowerContext) -> Merging:
        """Keep the most attended tokens, and one token for the rest."""
        import torch

        from todre.methods.views.vision_tower import Merging, fuse

        layers, n, first = self.tower_after(context.n_layers), context.patches, context.first
        left = left_after(context.layer, layers, geometric(n, budget(self.retain, n), len(layers)))
        tiles, tokens = context.place.shape
        own = torch.arange(tokens, device=context.place.device, dtype=torch.int64).expand(tiles, tokens)
        if left >= context.count:
            return Merging(torch.ones_like(own, dtype=torch.bool), own)
        attention = context.cls_attention()
        order = attention.argsort(dim=1, descending=True, stable=True) + first
        gone = order[:, left:] if self.fused == "none" else order[:, left - 1 :]
        if self.fused == "none":
            into = own.scatter(1, gone, -1)
            return Merging(into >= 0, into)
        seat = gone[:, :1]
        into = own.scatter(1, gone, seat.expand_as(gone))
        weight = torch.cat([attention.new_zeros(tiles, first), attention], dim=1)
        hidden = fuse(context.hidden, into, weight)
        if self.fused == "sum":
            total = weight.gather(1, gone).sum(dim=1)[:, None, None]
            wide = seat[..., None].expand(-1, -1, hidden.shape[-1])
            hidden = hidden.scatter(1, wide, (hidden.gather(1, wide).float() * total).to(hidden.dtype))
        return Merging(into == own, into, hidden)
