"""Helpers of methods that act before the LLM.

Groups of tokens, budgets for newline tokens, best picks, evenly spaced picks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from todre.methods.shared.budgets import shares

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens


def tiles(visual: VisualTokens) -> list[Tensor]:
    """Indices of the tokens of each tile, in sequence order.

    A tile is what a vision tower sees as one picture (a thumbnail, a crop, a frame of a clip), so its attention adds up
    to one. Newline tokens belong to none.
    """
    import torch

    places = visual.host
    key = torch.stack([places.picture, places.frame, places.tile], dim=1)
    return _groups(visual, key)


def tile_shares(visual: VisualTokens, room: int) -> list[tuple[Tensor, int]]:
    """Each of `tiles`, and how many of its tokens to keep of `room` in all.

    Tiles get equal fractions, rounded by largest remainder.
    """
    found = tiles(visual)
    return list(zip(found, shares(room, [len(tile) for tile in found]), strict=True))


def sheets(visual: VisualTokens) -> list[Tensor]:
    """Indices of the tokens of each sheet, in sequence order.

    A sheet is a thumbnail, the united crops of a picture, or a frame. Newline tokens belong to none. Tokens without a
    known place form one sheet in each picture or frame; where the tiles of a picture do not make one raster, each tile
    is a sheet.
    """
    import torch

    places = visual.host
    crops = (places.tile > 0).long()
    key = torch.stack([places.picture, places.frame, crops, places.row, places.column], dim=1)
    _, place = key.unique(dim=0, return_inverse=True)
    order = place.argsort(stable=True)
    ordered = place[order]
    copy = torch.empty_like(place)
    copy[order] = torch.arange(len(place), dtype=torch.int64, device="cpu") - torch.searchsorted(ordered, ordered)
    copy[places.row < 0] = -1
    return _groups(visual, torch.stack([places.picture, places.frame, crops, copy], dim=1))


def screens(visual: VisualTokens) -> list[Tensor]:
    """Indices of the tokens of each picture and each frame, in sequence order.

    The indices are on the host. Newline tokens belong to their picture; a clip's tokens that belong to no single frame
    go with its last frame.
    """
    places = visual.host
    frame = places.frame.clone()
    for picture in places.picture.unique():
        mine = places.picture == picture
        frame[mine & (places.frame < 0)] = places.frame[mine].max().clamp(min=0)
    screen = places.picture * (int(frame.max()) + 1) + frame
    return [(screen == number).nonzero().flatten() for number in screen.unique()]


def _groups(visual: VisualTokens, key: Tensor) -> list[Tensor]:
    """Indices of the tokens of each group, ordered by their first token.

    Args:
        visual: the tokens; newline tokens are left out.
        key: (n, m) on the host; tokens with equal rows form a group.
    """
    import torch

    index = (~visual.host.newline).nonzero().flatten()
    if not len(index):
        return []
    _, number = key[index].unique(dim=0, return_inverse=True)
    order = number.argsort(stable=True)
    found = sorted(index[order].split(number.bincount().tolist()), key=lambda group: int(group[0]))
    return list(visual.here(torch.cat(found)).split([len(group) for group in found]))


def newlines_first(visual: VisualTokens, k: int) -> tuple[Tensor, int]:
    """Spend a budget of `k` on newline tokens first.

    If the newline tokens alone would use up the budget, they come last instead.

    Returns:
        (n,) bool, the newline tokens that are kept, and the number of other tokens to keep.
    """
    newlines = int(visual.host.newline.sum())
    return (visual.newline.clone(), k - newlines) if newlines < k else newlines_last(visual, k)


def newlines_last(visual: VisualTokens, k: int) -> tuple[Tensor, int]:
    """Spend a budget of `k` on newline tokens only after all other tokens.

    Returns:
        (n,) bool, the newline tokens that are kept, and the number of other tokens to keep.
    """
    keep = visual.host.newline.clone()
    others = len(visual) - int(keep.sum())
    keep[keep.nonzero().flatten()[max(0, k - others) :]] = False
    return visual.here(keep), min(k, others)


def best(scores: Tensor, k: int) -> Tensor:
    """Indices of the `k` highest of `scores` (n,), best first.

    Ties go to the first; unknown scores (NaN) come last.
    """
    return scores.masked_fill(scores.isnan(), float("-inf")).argsort(descending=True, stable=True)[: max(k, 0)]


def spaced(n: int, k: int) -> list[int]:
    """`k` of `n` indices, evenly spaced: the middles of k equal parts, rounded down."""
    return [(2 * part + 1) * n // (2 * k) for part in range(k)]
