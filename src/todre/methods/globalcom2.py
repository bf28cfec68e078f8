"""GlobalCom²: the thumbnail decides how much of each crop is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import UnsupportedInputError
from todre.fields.kinds import Attention
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

_TEMPERATURE = 10.0


@dataclass(frozen=True, kw_only=True)
class GlobalCom2(Method):
    """Compress a picture's crops under the guidance of its thumbnail.

    Based on "Global Compression Commander: Plug-and-Play Inference Acceleration for High-Resolution Large
    Vision-Language Models" (arXiv 2501.05179). A thumbnail keeps its most attended tokens. Crop j keeps a share of its
    tokens in proportion to 1 + σ_j - mean σ, where σ is the softmax, at temperature 10, of the thumbnail's attention in
    the regions of the crops. Within a crop tokens rank by the sum of two attentions, each divided by its norm over the
    crop: the crop's own, and the thumbnail's, enlarged bilinearly to the raster of the united crops.

    The shares are the paper's, R(1 + σ_j - mean σ) capped at 1, with R such that all shares together meet the budget
    exactly (largest remainder; tokens beyond a crop's size go to the other crops). A thumbnail token belongs to the
    crop under its centre, which for crops of equal size is the authors' division of the thumbnail.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count; 0.25 in the authors' code. Newline
            tokens are kept first, within the budget (unless they alone would use it up). A picture without crops keeps
            its most attended tokens.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention is read; -1 in the authors' code.
        positions, per: see `Method`; a budget for each frame or picture keeps thumbnail and crops together.
    """

    retain: SelectRetain = 0.1
    attention: Attention = "auto"
    layer: int = -1

    name: ClassVar[str] = "globalcom2"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "crops compressed as the thumbnail's attention directs"
    paper: ClassVar[str] = "arXiv 2501.05179"
    card: ClassVar[Card] = Card(
        venue="AAAI 2026",
        acts=("select",),
        needs=("received", "grid"),
        follows="The released code, with the total exact instead of each share rounded down, newline tokens within the "
        "budget, regions by place instead of equal blocks where crops were unpadded, and attention received where a "
        "tower has no [CLS]. Without crops it is attention top-k.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Divide the budget among all tiles, then keep the best tokens of each."""
        from todre.methods.shared.apportion import apportion
        from todre.methods.shared.grouping import best, newlines_first, tiles

        attention = visual.signal(*self.signals()).double().nan_to_num(0.0)
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        found = tiles(visual)
        weight = [float(len(tile)) for tile in found]
        scores = attention.clone()
        for picture in visual.picture[visual.tile > 0].unique().tolist():
            mine = [place for place, tile in enumerate(found) if int(visual.picture[tile[0]]) == picture]
            thumbnails = [found[place] for place in mine if int(visual.tile[found[place][0]]) == 0]
            crops = [place for place in mine if int(visual.tile[found[place][0]]) > 0]
            if not thumbnails:
                continue
            thumbnail, united = _guides(visual, attention, thumbnails[0], [found[place] for place in crops])
            emphasis = (thumbnail / _TEMPERATURE).softmax(dim=0)
            for place, scale in zip(crops, (1 + emphasis - emphasis.mean()).tolist(), strict=True):
                crop = found[place]
                weight[place] *= scale
                scores[crop] = _normal(attention[crop]) + _normal(united[visual.row[crop], visual.column[crop]])
        for tile, quota in zip(found, apportion(room, weight, [len(tile) for tile in found]), strict=True):
            keep[tile[best(scores[tile], quota)]] = True
        return keep


def _guides(visual: VisualTokens, attention: Tensor, thumbnail: Tensor, crops: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The thumbnail's attention, per crop and per place in the united crops.

    Returns:
        The attention in the region of each crop, (crops,), and over the raster of the united crops, (rows, columns).

    Raises:
        UnsupportedInputError: a place in a raster is unknown.
    """
    import torch

    members = torch.cat([thumbnail, *crops])
    if bool((visual.row[members] < 0).any()):
        raise UnsupportedInputError(
            "GlobalCom² needs the row and column of every token of the thumbnail and the crops, which this model does "
            "not tell; use a method without crops, such as vispruner."
        )
    rows, columns = _extent(visual, torch.cat(crops))
    high, wide = _extent(visual, thumbnail)
    owner = torch.full((rows, columns), len(crops), device=attention.device, dtype=torch.int64)
    for number, crop in enumerate(crops):
        owner[visual.row[crop], visual.column[crop]] = number
    small = attention.new_zeros(high, wide)
    small[visual.row[thumbnail], visual.column[thumbnail]] = attention[thumbnail]
    below = (2 * torch.arange(high, device=owner.device, dtype=torch.int64) + 1) * rows // (2 * high)
    right = (2 * torch.arange(wide, device=owner.device, dtype=torch.int64) + 1) * columns // (2 * wide)
    mass = attention.new_zeros(len(crops) + 1).index_add_(0, owner[below][:, right].flatten(), small.flatten())
    size = (rows, columns)
    united = torch.nn.functional.interpolate(small[None, None], size=size, mode="bilinear", align_corners=False)
    return mass[:-1], united[0, 0]


def _extent(visual: VisualTokens, members: Tensor) -> tuple[int, int]:
    """Number of rows and columns of the raster that holds the tokens `members`."""
    return int(visual.row[members].max()) + 1, int(visual.column[members].max()) + 1


def _normal(values: Tensor) -> Tensor:
    """`values` divided by their norm; zeros stay zero."""
    import torch

    return torch.nn.functional.normalize(values, dim=0)
