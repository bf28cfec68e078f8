"""Nüwa's first stage: anchors of every region, which gather their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from todre.errors import UnsupportedInputError
from todre.fields.kinds import Attention, Count, Share
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import Selection, VisualTokens
    from todre.tensors.token_facts import Signal


@dataclass(frozen=True, kw_only=True)
class Nuwa(Method):
    """Keep the most salient tokens of each region, and let them gather neighbours.

    Based on "Nüwa: Mending the Spatial Integrity Torn by VLM Token Pruning" (arXiv 2602.02951), stage 1; stage 2 is
    `nuwa-text`. A token's salience is attention times the norm of its key. Each region of `window` × `window` tokens
    offers an equal part of the budget, rounded up, and the most salient of the offered tokens are kept. Kept tokens
    whose key's norm is in the top share `pillars` stay as they are. Every other kept token j becomes x_j + Σ w_ji x_i.
    The weights w_ji are in proportion to max(cos(x_j, x_i), 0)·max(1 - d_ji/d_th, 0) and add up to 1 over all i, j
    included; x_j itself then counts in full.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Thumbnails, united crops and frames
            get equal fractions, rounded by largest remainder; newline tokens are kept first, within the budget (unless
            they alone would use it up).
        window: tokens along each side of a region.
        pillars: share of the kept tokens of each raster that stay as they are.
        reach: d_th², as a share of the square of the longest distance in the raster.
        attention: the ranking attention: `cls`, `received` (mean attention received), or `auto`, the first of
            these two that the tower offers.
        layer: tower layer whose attention and keys are read.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    window: Count = 2
    pillars: Share = 0.25
    reach: Share = 0.26
    attention: Attention = "auto"
    layer: int = -2

    name: ClassVar[str] = "nuwa"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "anchors of every region gather their surroundings (Nüwa's stage 1)"
    paper: ClassVar[str] = "arXiv 2602.02951"
    card: ClassVar[Card] = Card(
        venue="ICLR 2026",
        acts=("select",),
        needs=("received", "keys", "grid"),
        follows="The paper's salience and pillars (the code leaves out the norm and takes the most attended 45 %), the "
        "code's regions and the weight 1 of a token itself beside those of its neighbours; the printed distance is "
        "squared, the code's is not, and we follow the code. Gathers projected embeddings, and compares them, where "
        "the code gathers tower features and compares a mean of its later layers.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention and keys of `layer`."""
        from todre.tensors.token_facts import Signal

        return (Signal(self.attention, self.layer), Signal("keys", self.layer))

    def select(self, visual: VisualTokens) -> Selection:
        """Choose the anchors of each raster, and let them gather."""
        from todre.methods.shared.budgets import shares
        from todre.methods.shared.grouping import best, newlines_first, sheets
        from todre.methods.views.visual_tokens import Selection

        if bool((visual.row[~visual.newline] < 0).any()):
            raise UnsupportedInputError(
                "Nüwa needs the row and column of every visual token, which this model does not tell; "
                "use a method without a raster, such as visionzip."
            )
        attention, keys = (visual.signal(request) for request in self.signals())
        norm = keys.float().norm(dim=-1)
        salience = attention * norm
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        embeddings = visual.embeddings.clone()
        found = sheets(visual)
        for sheet, share in zip(found, shares(room, [len(sheet) for sheet in found]), strict=True):
            if share in (0, len(sheet)):
                keep[sheet] = share > 0
                continue
            anchors = sheet[self._anchors(visual, salience, sheet, share)]
            keep[anchors] = True
            gathering = anchors[best(norm[anchors], share)[round(share * self.pillars) :]]
            embeddings[gathering] = self._gathered(visual, sheet, gathering)
        return Selection(keep, embeddings)

    def _anchors(self, visual: VisualTokens, salience: Tensor, sheet: Tensor, count: int) -> Tensor:
        """The `count` kept tokens, as ascending places in `sheet`."""
        import torch

        from todre.methods.shared.grouping import best

        width = int(visual.column[sheet].max()) // self.window + 1
        region = visual.row[sheet] // self.window * width + visual.column[sheet] // self.window
        order = best(salience[sheet], len(sheet))
        order = order[region[order].argsort(stable=True)]
        sizes = region.bincount()
        start = (sizes.cumsum(0) - sizes)[region[order]]
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device, dtype=torch.int64) - start
        offered = self._offers(rank, count)
        chosen: Tensor = offered[best(salience[sheet][offered], count)].sort().values
        return chosen

    def _offers(self, rank: Tensor, count: int) -> Tensor:
        """Places of the tokens that regions offer: the smallest offer of at least `count`."""
        offered = next(most for most in range(1, len(rank) + 1) if int((rank < most).sum()) >= count)
        return (rank < offered).nonzero().flatten()

    def _gathered(self, visual: VisualTokens, sheet: Tensor, chosen: Tensor) -> Tensor:
        """Embeddings of the chosen tokens with their surroundings added, (chosen, d)."""
        import torch
        from torch.nn import functional

        place = torch.stack([visual.row, visual.column], dim=1).float()
        rows, columns = (float(place[sheet, axis].max() - place[sheet, axis].min()) for axis in (0, 1))
        reach = max((self.reach * (rows**2 + columns**2)) ** 0.5, 1e-6)
        distance = (place[chosen][:, None] - place[sheet][None]).square().sum(dim=-1).sqrt()
        x = visual.embeddings[sheet].float()
        own = visual.embeddings[chosen].float()
        cosine = functional.normalize(own, dim=-1) @ functional.normalize(x, dim=-1).T
        weight = cosine.clamp(min=0) * (1 - distance / reach).clamp(min=0)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-8)
        weight[chosen[:, None] == sheet[None]] = 1.0
        gathered: Tensor = weight @ x
        return gathered.to(visual.embeddings.dtype)
