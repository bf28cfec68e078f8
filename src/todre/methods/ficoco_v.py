"""FiCoCo-V: filter, correlate, compress, in the second half of the vision tower."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import Range
from todre.fields.kinds import Retain, Share
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.rates import constant, left_after

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.vision_tower import Merging, TowerContext


@dataclass(frozen=True, kw_only=True)
class FiCoCoV(Method):
    """Fold redundant tokens into similar ones, late in the vision tower.

    Based on "Filter, Correlate, Compress" (FiCoCo, arXiv 2411.17686v4) and its code. It acts layer by layer in the
    second half of the tower. Signals are attention logits, before the softmax, averaged over heads; the logits of one
    layer are held for all tiles at once, (t, s, s).

    Args:
        retain: tokens kept of each tile, a fraction or a count; each layer removes the same number. 114 of 576 is the
            code's default.
        start: share of the layers (rounded up) that run before the first acting layer.
        balance: λ, the weight of vision-aware redundancy against attention of [CLS], from 0 to 1.
        penalty: factor by which the redundancy of the most redundant token of each 2 × 2 window is increased; 1 for
            none.
        quantile: ε; a leaving token goes to the tokens above this quantile of its logits.
        positions: see `Method`; nothing is chosen per sample, so `per` stays as it is.
    """

    retain: Retain = 0.198
    start: Share = 0.5
    balance: Share = 0.65
    penalty: Annotated[float, Range(least=1)] = 2.0
    quantile: Share = 0.998

    name: ClassVar[str] = "ficoco-v"
    summary: ClassVar[str] = "redundant tokens merged into similar ones, late in the vision tower"
    paper: ClassVar[str] = "arXiv 2411.17686v4"
    card: ClassVar[Card] = Card(
        venue="AAAI 2026",
        acts=("tower",),
        needs=("cls",),
        budget="Exact in the tower, for each tile; unpadding, newlines and pixel shuffle (a visual token stays if any "
        "part of it does) may keep more before the LLM.",
        follows="The code's formulas, without its slips: tokens keep their order and [CLS] its place, targets are kept "
        "patches alone, the window penalty is held per tile. Acts after a block, not between its attention and its "
        "MLP. A dropped token's place is given to its heaviest target.",
    )

    def tower_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after every layer beyond the share `start`, at least after the last layer."""
        return tuple(range(min(math.ceil(self.start * n_layers) + 1, n_layers), n_layers + 1))

    def merge(self, context: TowerContext) -> Merging:
        """Spread the most redundant tokens over those that they attend to most."""
        import torch

        from todre.methods.views.vision_tower import Merging

        layers, n, first = self.tower_after(context.n_layers), context.patches, context.first
        counts = constant(n, budget(self.retain, n), len(layers), lambda count: count - 1)
        r = max(context.count - left_after(context.layer, layers, counts), 0)
        tiles, tokens = context.place.shape
        into = torch.arange(tokens, device=context.place.device, dtype=torch.int64).repeat(tiles, 1)
        if not r:
            return Merging(torch.ones_like(into, dtype=torch.bool), into)
        whole = context.logits()
        logits = whole[:, first:, first:]
        score = redundancy(logits, whole[:, 0, first:], self.balance)
        score = penalise(score, context.place[:, first:], context.side, self.penalty)
        gone = score.argsort(dim=1, descending=True, stable=True)[:, :r]
        kept = torch.ones_like(score, dtype=torch.bool).scatter(1, gone, False)
        most = min(max(math.ceil((1 - self.quantile) * (context.count - 1) - 1e-9), 1), context.count - r)
        rows = logits.gather(1, gone[..., None].expand(-1, -1, context.count))
        values, targets = rows.masked_fill(~kept[:, None], -math.inf).sort(dim=-1, descending=True, stable=True)
        weight, targets = values[..., :most].softmax(dim=-1), targets[..., :most]
        into = into.scatter(1, gone + first, targets[..., 0] + first)
        hidden = compress(context.hidden[:, first:], gone, targets, weight)
        hidden = torch.cat([context.hidden[:, :first], hidden], dim=1)
        return Merging(torch.cat([kept.new_ones(tiles, first), kept], dim=1), into, hidden)


def redundancy(logits: Tensor, cls: Tensor, balance: float) -> Tensor:
    """Redundancy of each token: its similarity to all others minus [CLS] attention.

    Both parts are normalised to unit length over the tokens.

    Args:
        logits: (t, s, s), attention logits between patches.
        cls: (t, s), attention from [CLS] to the patches.
        balance: weight of the similarity, from 0 to 1.

    Returns:
        (t, s).
    """
    from torch.nn import functional

    alike = functional.normalize(logits.mean(dim=-1), dim=-1)
    return balance * alike - (1 - balance) * functional.normalize(cls, dim=-1)


def penalise(score: Tensor, place: Tensor, side: int, penalty: float) -> Tensor:
    """Increase the redundancy of the most redundant token of each 2 × 2 window.

    Ties go to the first token.

    Args:
        score: (t, s) redundancies.
        place: (t, s) places in a raster of `side` columns.
        side: columns and rows of the raster.
        penalty: factor that multiplies a positive redundancy and divides a negative one.

    Returns:
        (t, s).
    """
    import torch

    window = place // side // 2 * ((side + 1) // 2) + place % side // 2
    best = score.new_full((score.shape[0], side * side), -math.inf).scatter_reduce(1, window, score, "amax")
    ties = score == best.gather(1, window)
    order = torch.arange(score.shape[1], device=score.device, dtype=torch.int64).expand_as(window)
    lowest = torch.full_like(best, score.shape[1], dtype=torch.long)
    lowest = lowest.scatter_reduce(1, window, order.masked_fill(~ties, score.shape[1]), "amin")
    chosen = order == lowest.gather(1, window)
    return torch.where(chosen, torch.where(score > 0, score * penalty, score / penalty), score)


def compress(hidden: Tensor, gone: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Add the leaving tokens to their targets.

    x_j ← (x_j + Σ w_ij x_i) / (1 + Σ w_ij), with sums over the leaving tokens i. All other tokens stay as they are.

    Args:
        hidden: (t, s, d).
        gone: (t, r) indices of the leaving tokens.
        targets, weight: (t, r, k) indices and weights of the k targets of each leaving token.

    Returns:
        (t, s, d).
    """
    import torch

    tiles, tokens, width = hidden.shape
    flow = hidden.new_zeros((tiles, gone.shape[1], tokens), dtype=torch.float32).scatter_add(2, targets, weight)
    leaving = hidden.gather(1, gone[..., None].expand(-1, -1, width)).float()
    received = flow.sum(dim=1)[..., None]
    mixed = (hidden.float() + flow.transpose(1, 2) @ leaving) / (1 + received)
    return torch.where(received > 0, mixed.to(hidden.dtype), hidden)
