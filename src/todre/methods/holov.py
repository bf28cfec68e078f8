"""HoloV: every part of the picture gets a share of the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.fields.kinds import Attention, Count
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

_VARIANCE = 0.09
_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class HoloV(Method):
    """Divide the budget over stretches of the picture; keep the most attended of each.

    Based on "Don't Just Chase 'Highlighted Tokens' in MLLMs: Revisiting Visual Holistic Context Retention" (HoloV,
    arXiv 2510.02912). The tokens of each tile are cut into `stretches` consecutive stretches of equal length. A token's
    score is its attention plus 0.09 times the variance of its cosines to the other tokens of its stretch, rescaled to
    the mean of the attention. A stretch gets a share of the tile's budget in proportion to the mean score of its
    tokens, and keeps its most attended tokens.

    As released, the variance is rescaled within each stretch, so its mean there always equals that of the attention: it
    cancels, and the shares follow attention alone. `rescale="tile"` rescales over the tile, so that the variance
    counts.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions by largest
            remainder; tokens beyond a stretch's size go to the other stretches. Newline tokens come last.
        stretches: number of stretches in a tile; 16 for the 576 tokens of LLaVA-1.5.
        rescale: where the variance is rescaled to the attention: `stretch` (as released) or `tile`.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention is read; -2 in the authors' code.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    stretches: Count = 16
    rescale: Literal["stretch", "tile"] = "stretch"
    attention: Attention = "auto"
    layer: int = -2

    name: ClassVar[str] = "holov"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "a share for every stretch of the picture, by attention and variety"
    paper: ClassVar[str] = "arXiv 2510.02912"
    card: ClassVar[Card] = Card(
        venue="NeurIPS 2025",
        acts=("select",),
        needs=("received",),
        follows="The released code, where the variance term cancels out of the shares (rescale='tile' lets it count). "
        "Its formula for the number of stretches of a Qwen picture is not taken over; set `stretches`. Unlike it, a "
        "token is not compared with itself, a stretch of one token is scored like others, and overflow is given to the "
        "others instead of filled with zeros.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep the most attended tokens of each stretch of each tile."""
        from todre.methods.shared.apportion import apportion
        from todre.methods.shared.grouping import best, newlines_last, tile_shares

        attention = visual.signal(*self.signals())
        keep, room = newlines_last(visual, budget(self.retain, len(visual)))
        for tile, share in tile_shares(visual, room):
            stretches = tile.tensor_split(min(self.stretches, len(tile)))
            weights = self._weights(visual, attention.double().nan_to_num(0.0), stretches)
            quotas = apportion(share, weights, [len(stretch) for stretch in stretches])
            for stretch, quota in zip(stretches, quotas, strict=True):
                keep[stretch[best(attention[stretch], quota)]] = True
        return keep

    def _weights(self, visual: VisualTokens, attention: Tensor, stretches: tuple[Tensor, ...]) -> list[float]:
        """Mean score of the tokens of each stretch."""
        import torch

        heeded = torch.stack([attention[stretch].mean() for stretch in stretches]).cpu()
        varied = torch.stack([_variance(visual.embeddings[stretch]).mean() for stretch in stretches])
        if self.rescale == "stretch":
            scale = heeded / (varied + _TINY)
        else:
            sizes = torch.tensor([len(stretch) for stretch in stretches], dtype=torch.float64, device="cpu")
            scale = (heeded * sizes).sum() / ((varied * sizes).sum() + _TINY * sizes.sum())
        return [float(weight) for weight in heeded + _VARIANCE * varied * scale]


def _variance(x: Tensor) -> Tensor:
    """Variance of each token's cosines with the other tokens of x (m, d).

    Returns:
        (m,) float64 on the CPU; 0 for a single token.
    """
    import torch

    from todre.select import gram

    m = len(x)
    if m == 1:
        return torch.zeros(1, dtype=torch.float64, device="cpu")
    cosines = gram(x.double())
    others = ~torch.eye(m, dtype=torch.bool, device="cpu")
    return cosines[others].view(m, m - 1).var(dim=1, unbiased=False)
