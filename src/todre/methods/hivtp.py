"""HIVTP: the best tokens of each quarter of the picture, and of each small window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.errors import UnsupportedInputError
from todre.fields import Items
from todre.fields.kinds import Share, TowerLayer
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

_REGIONS = 2
_WINDOW = 2


@dataclass(frozen=True, kw_only=True)
class HIVTP(Method):
    """Keep tokens that middle tower layers attend to most, spread over the picture.

    Based on "HIVTP: A Training-Free Method to Improve VLMs Efficiency via Hierarchical Visual Token Pruning Using
    Middle-Layer-Based Importance Score" (arXiv 2509.23663). A token's importance is the attention it receives, averaged
    over `layers`. First each quarter of a sheet (see `retain`) keeps its most important tokens; then each window of
    2 × 2 tokens offers its most important token not kept yet, and the best offers are kept.

    The paper keeps a quarter of the tokens of each region, and every offer, so that its total depends on the picture
    (at most half). Here both passes share the budget: the regions get `share` of it, in proportion to their tokens, and
    the windows the rest, offering again until it is met.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Sheets (a thumbnail, united crops, a
            frame) get equal fractions by largest remainder; newline tokens and tokens in no raster come last.
        share: share of the budget that the regions keep, 0 to 1; a half in the paper.
        layers: tower layers whose attention counts: floats are fractions of the depth (rounded down), ints are indices
            that may be negative; 6 to 8 of CLIP's 24 in the paper.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    share: Share = 0.5
    layers: Annotated[tuple[TowerLayer, ...], Items(least=1)] = (6 / 24, 7 / 24, 8 / 24)

    name: ClassVar[str] = "hivtp"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "most attended in middle layers, by region and then by window"
    paper: ClassVar[str] = "arXiv 2509.23663"
    card: ClassVar[Card] = Card(
        venue="arXiv 2025",
        acts=("select",),
        needs=("received", "grid"),
        follows="The released code's two passes, with the budget divided between them in the paper's proportion "
        "instead of a total that depends on the picture; crops are one sheet together.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request the attention received in each of `layers`."""
        from todre.tensors.token_facts import Signal

        return tuple(Signal("received", layer) for layer in self.layers)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each sheet the best of its regions, then of its windows."""
        import torch

        from todre.methods.shared.budgets import shares
        from todre.methods.shared.grouping import best, sheets

        known = [visual.signal(request).double() for request in self.signals()]
        importance = torch.stack(known).mean(dim=0)
        placed = visual.row >= 0
        if not bool(placed.any()):
            raise UnsupportedInputError(
                "HIVTP needs the rows and columns of visual tokens, which this model does not tell; "
                "use a method without regions, such as vispruner."
            )
        keep = torch.zeros_like(placed)
        k = budget(self.retain, len(visual))
        found = [sheet for sheet in sheets(visual) if bool(placed[sheet[0]])]
        for sheet, count in zip(found, shares(k, [len(sheet) for sheet in found]), strict=True):
            row, column = visual.row[sheet], visual.column[sheet]
            region = _block(row * _REGIONS // (row.max() + 1), column * _REGIONS // (column.max() + 1))
            keep[sheet] = _by_region(importance[sheet], region, round(count * self.share))
            rank = _offers(importance[sheet], _block(row // _WINDOW, column // _WINDOW), keep[sheet])
            left = (~keep[sheet]).nonzero().flatten()
            order = left[best(importance[sheet][left], len(left))]
            order = order[rank[order].argsort(stable=True)]
            keep[sheet[order[: count - int(keep[sheet].sum())]]] = True
        rest = (~placed).nonzero().flatten()
        keep[rest[: k - int(keep.sum())]] = True
        return keep


def _block(row: Tensor, column: Tensor) -> Tensor:
    """A number for each pair of coarse row and column, ascending row by row."""
    return row * (column.max() + 1) + column


def _by_region(importance: Tensor, region: Tensor, count: int) -> Tensor:
    """The most important tokens of each region, `count` in all.

    Returns:
        (m,) bool.
    """
    import torch

    from todre.methods.shared.budgets import shares
    from todre.methods.shared.grouping import best

    keep = torch.zeros_like(region, dtype=torch.bool)
    parts = [(region == number).nonzero().flatten() for number in region.unique()]
    for part, quota in zip(parts, shares(count, [len(part) for part in parts]), strict=True):
        keep[part[best(importance[part], quota)]] = True
    return keep


def _offers(importance: Tensor, window: Tensor, taken: Tensor) -> Tensor:
    """The 0-based round in which each token is offered by its window.

    Round 0 offers the best token that no region keeps, round 1 the next best, and so on.

    Returns:
        (m,) int64.
    """
    import torch

    from todre.methods.shared.grouping import best

    order = best(importance, len(importance))
    order = order[~taken[order]]
    order = order[window[order].argsort(stable=True)]
    ordered = window[order]
    rank = torch.full_like(window, -1)
    here = torch.arange(len(order), device=window.device, dtype=torch.int64)
    rank[order] = here - torch.searchsorted(ordered, ordered)
    return rank
