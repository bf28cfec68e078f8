"""SwiftVLM: tokens bypass a few layers and may be chosen afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import Range
from todre.fields.kinds import Layers, Retain
from todre.methods.base import Method
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting, left_after
from todre.methods.shared.grouping import best
from todre.methods.shared.layers import resolve_layers
from todre.methods.shared.query_rows import columns_of, fresh_slots, group_sizes, remaining_counts, row_counts

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import ParkedView, Reduction


@dataclass(frozen=True, kw_only=True)
class SwiftVLM(Method):
    """Choose anew at a few layers; tokens not chosen bypass the layers between.

    Based on "SwiftVLM: Efficient Vision-Language Model Inference via Cross-Layer Token Bypass" (arXiv 2602.03134).
    After each stage the tokens that the prompt's last token attends to most go on. The others are grouped by cosine;
    the mean of each group goes on as a proxy in the place of one member. Before the layer that the next stage ranks by,
    every member comes back as it was, plus the change of its proxy. After the last stage the others are dropped for
    good.

    Args:
        retain: visual tokens that go on, proxies included; a fraction of those that entered or a count.
        layers: layers run before each stage, counts or fractions of the depth. The paper finds them by dynamic
            programming on how well each layer's attention finds the needed tokens; 3, 11 and 15 for LLaVA-1.5-7B.
        proxies: share of the budget for proxies; at least one proxy, except in a budget of one.
        counting: what `retain` counts: `input`, the tokens between stages and after the last; `layer-average`, their
            mean over all layers, where layers that rank count all visual tokens.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 1 / 3
    layers: Layers = (3 / 32, 11 / 32, 15 / 32)
    proxies: Annotated[float, Range(above=0, below=1, called="a share of the budget")] = 0.1
    counting: Counting = "input"

    name: ClassVar[str] = "swiftvlm"
    summary: ClassVar[str] = "tokens bypass layers and may come back at the next stage"
    paper: ClassVar[str] = "arXiv 2602.03134"
    card: ClassVar[Card] = Card(
        acts=("reduce",),
        needs=("attention", "hidden"),
        follows=(
            "The paper; no code was found. How groups are formed is not known: here tokens join the nearest, by cosine "
            "of hidden states, of evenly spaced members, and proxies count towards the budget. A stage that the next "
            "one follows at once would bypass nothing and is left out."
        ),
    )

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after each of `layers` that is followed by a bypass, and after the last."""
        layers = resolve_layers(self.layers, n_layers)
        return (*(layer for layer, following in pairwise(layers) if following > layer + 1), layers[-1])

    def rejoin_before(self, n_layers: int) -> tuple[int, ...]:
        """Layers that stages after the first rank by; they see all tokens."""
        return self.reduce_after(n_layers)[1:]

    def reduce(self, context: ReduceContext) -> Reduction:
        """Choose by attention from the last token.

        The others are merged into proxies, unless this stage is the last.
        """
        import torch

        from todre.methods.views.reduction import Reduction

        stages = self.reduce_after(context.n_layers)
        everyone = stages[0] + len(stages) - 1
        counts = row_counts(
            context, lambda entered: left_after(self.retain, self.counting, entered, everyone, context.n_layers)
        )
        scores = context.last_scores()
        if all(layer <= context.layer for layer in self.rejoin_before(context.n_layers)):
            return context.best(scores, counts)
        keep, hidden = ~context.fresh, context.hidden.clone()
        proxy = torch.full(hidden.shape[:2], -1, dtype=torch.long, device=hidden.device)
        for row, count in enumerate(counts.tolist()):
            slots = fresh_slots(context, row)
            if count >= len(slots):
                keep[row] = True
                continue
            groups = min(max(1, round(self.proxies * count)), count - 1)
            order = best(scores[row, slots], len(slots))
            others = order[count - groups :].sort().values
            keep[row, slots[order[: count - groups]]] = True
            if groups:
                columns = columns_of(context, slots[others])
                anchors, member, merged = _grouped(context.hidden[row, columns], groups)
                keep[row, slots[others[anchors]]] = True
                hidden[row, columns[anchors]] = merged.to(hidden.dtype)
                proxy[row, columns] = columns[anchors][member]
        return Reduction(keep, hidden=hidden, parks=True, memo=(proxy, hidden), left=remaining_counts(context, counts))

    def rejoin(self, parked: ParkedView) -> Tensor:
        """States of the parked tokens: their old states plus the change of their proxy.

        Tokens without a proxy come back with their old states.
        """
        import torch

        proxy, merged = (kept.to(parked.now.device) for kept in parked.memo)  # layers may be on several devices
        before, present = parked.before.to(proxy.device), parked.present.to(proxy.device)
        index = proxy.clamp(min=0)
        wide = index[..., None].expand_as(parked.now)
        change = parked.now.gather(1, wide) - merged.gather(1, wide)
        moved = (proxy >= 0) & present.gather(1, index)
        back = torch.where(moved[..., None], before + change, before)
        return torch.where((present & (proxy < 0))[..., None], parked.now, back)


def _grouped(states: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Group states by cosine.

    Args:
        states: (n, d).
        groups: number of groups.

    Returns:
        Indices of the groups' anchors; (n,), the number of each token's group; and the groups' mean states.
    """
    import torch

    n = len(states)
    anchors = torch.arange(groups, device=states.device, dtype=torch.int64) * n // groups
    unit = torch.nn.functional.normalize(states.float(), dim=-1)
    member = (unit @ unit[anchors].T).argmax(dim=1)
    member[anchors] = torch.arange(groups, device=states.device, dtype=torch.int64)
    sums = states.new_zeros((groups, states.shape[1]), dtype=torch.float32).index_add_(0, member, states.float())
    return anchors, member, sums / group_sizes(member, groups)[:, None]
