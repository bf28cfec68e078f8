"""PruneSID: groups by principal components, near duplicates suppressed in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from todre.fields.kinds import Count, Positive
from todre.methods.auto_budget import SelectRetain
from todre.methods.base import Method, budget
from todre.methods.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.visual_tokens import VisualTokens
    from todre.tensors.token_facts import Signal

_CAP = 5
_CAP_STEP = 64


@dataclass(frozen=True, kw_only=True)
class PruneSID(Method):
    """Group tokens by principal component, and keep the best unlike ones of each.

    Based on "Prune Redundancy, Preserve Essence: Vision Token Compression in VLMs via Synergistic Importance-Diversity"
    (PruneSID, arXiv 2603.09480). Of a tile with m tokens, n of which it keeps, the sigmoid of each token is a variable
    and its channels are the observations; each token joins the one of the first ⌊n/per_group⌋ principal components
    that it loads on most. In each group the best token is chosen, those whose cosine to it exceeds θ are suppressed,
    and so on; θ = scale·n/m times the mean cosine of the tile's pairs. Each group then keeps 1 token and a part of the
    rest in proportion to how many of its tokens were chosen: these first, in the order of choosing, then the
    suppressed. No group keeps more than 5·⌈n/64⌉ tokens or more than were chosen, unless the budget needs it.

    Where scale·n/m times the mean cosine reaches 1 nothing is suppressed: for a mean cosine of 0.35, from n/m = 0.16
    on. A tile of m tokens costs an eigendecomposition of min(m, d)² numbers and holds the cosines of all its pairs.

    Args:
        retain: visual tokens kept, a fraction of each sample's tokens or a count. Tiles get equal fractions, rounded by
            largest remainder; newline tokens are kept first, within the budget (unless they alone would use it up).
        per_group: kept tokens for each principal component; there is at least one.
        scale: θ of a share n/m, in mean cosines; 18 is the authors' n/32 for 576 tokens.
        importance: what makes a token the best: `cls` ([CLS] attention), `received` (mean attention received),
            `loading` (on its component, as in the authors' code for Qwen2-VL), or `auto`, the first of these that the
            model offers.
        layer: tower layer whose attention is read; -2 is where LLaVA takes its features from.
        positions, per: see `Method`.
    """

    retain: SelectRetain = 0.1
    per_group: Count = 4
    scale: Positive = 18.0
    importance: Literal["auto", "cls", "received", "loading"] = "auto"
    layer: int = -2

    name: ClassVar[str] = "prunesid"
    exact: ClassVar[bool] = True
    summary: ClassVar[str] = "groups by principal component, near duplicates suppressed in each"
    paper: ClassVar[str] = "arXiv 2603.09480"
    card: ClassVar[Card] = Card(
        venue="ICLR 2026",
        acts=("select",),
        follows="The released code's rule for LLaVA, on projected embeddings instead of the tower's; [CLS] is not one "
        "of the tokens. Components are exact, in float64, where the code draws a randomised decomposition, unseeded. "
        "Quotas are rounded by largest remainder, and what a full group cannot take goes to the others in proportion; "
        "the code rounds cumulatively and gives leftovers to the groups with most survivors. Tokens stay in order, "
        "where the code's LLaVA has them group by group. For Qwen2-VL the code halves the mean cosine and has at least "
        "4 groups and a factor of at least 1, which is not followed. The paper's count for each picture is not in the "
        "code and not here.",
    )

    def signals(self) -> tuple[Signal, ...]:
        """Request attention of `layer` where importance is attention."""
        from todre.tensors.token_facts import Signal

        return () if self.importance == "loading" else (Signal(self.importance, self.layer),)

    def select(self, visual: VisualTokens) -> Tensor:
        """Keep in each tile the quota of each group."""
        from todre.methods.shared.grouping import newlines_first, tile_shares

        attention = self._attention(visual)
        keep, room = newlines_first(visual, budget(self.retain, len(visual)))
        for tile, share in tile_shares(visual, room):
            if share in (0, len(tile)):
                keep[tile] = share > 0
                continue
            scores = None if attention is None else attention[tile].cpu()
            keep[tile[visual.here(self._chosen(visual.embeddings[tile], scores, share))]] = True
        return keep

    def _attention(self, visual: VisualTokens) -> Tensor | None:
        """Attention of each token, (n,); None where the loading decides."""
        if self.importance == "loading" or (self.importance == "auto" and not visual.known):
            return None
        return visual.signal(*self.signals())

    def _chosen(self, x: Tensor, attention: Tensor | None, share: int) -> Tensor:
        """Indices of the kept tokens of one tile.

        Args:
            x: (m, d) embeddings of the tile's tokens.
            attention: (m,) on the CPU; None ranks by loading.
            share: number of tokens to keep, 0 < share < m.

        Returns:
            (share,) int64 on the CPU, group by group.
        """
        import torch

        from todre.methods.shared.grouping import best
        from todre.select import component_loadings, gram, unsuppressed

        n = len(x)
        loading, group = component_loadings(x.double().sigmoid(), max(share // self.per_group, 1)).max(dim=1)
        scores = loading if attention is None else attention
        cosines = gram(x)
        pairs = cosines.sum(dtype=torch.float64) - cosines.diagonal().sum(dtype=torch.float64)
        limit = self.scale * share / n * float(pairs) / (n * (n - 1))
        queues: list[Tensor] = []
        chosen: list[int] = []
        for number in group.unique().tolist():
            members = (group == number).nonzero().flatten()
            order = members[best(scores[members], len(members))]
            first = unsuppressed(cosines, order, lambda _: limit)
            queues.append(torch.cat([first, order[~torch.isin(order, first)]]))
            chosen.append(len(first))
        quotas = _quotas(share, chosen, [len(queue) for queue in queues])
        return torch.cat([queue[:quota] for queue, quota in zip(queues, quotas, strict=True)])


def _quotas(total: int, chosen: list[int], sizes: list[int]) -> list[int]:
    """Tokens that each group keeps, `total` in all.

    Args:
        total: at least the number of groups, at most the sum of `sizes`.
        chosen: tokens of each group that were not suppressed, at least 1.
        sizes: tokens of each group.
    """
    from todre.methods.shared.apportion import apportion

    most = _CAP * -(-total // _CAP_STEP)
    caps = [min(count, most) for count in chosen]
    while sum(caps) < total:
        caps = [min(cap + 1, size) for cap, size in zip(caps, sizes, strict=True)]
    rest = apportion(total - len(sizes), chosen, [cap - 1 for cap in caps])
    return [1 + quota for quota in rest]
