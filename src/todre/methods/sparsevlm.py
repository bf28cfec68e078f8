"""SparseVLM: text tokens rate the picture; some pruned tokens come back merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from todre.fields import OneOf, fitted
from todre.fields.kinds import Layers, Positive, Retain
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.shared.budgets import Counting, stage_counts
from todre.methods.shared.clusters import density_peaks
from todre.methods.shared.grouping import best
from todre.methods.shared.layers import resolve_layers, resolve_stages, stage_at
from todre.methods.shared.per_layer import check_falling, check_stages
from todre.methods.shared.query_rows import columns_of, fresh_slots, group_sizes, remaining_counts, row_counts

if TYPE_CHECKING:
    from torch import Tensor

    from todre.methods.views.decoder_layer import ReduceContext
    from todre.methods.views.reduction import Reduction

LISTS = {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)}
"""Tokens left after each stage in version 1.5.

The keys are the means over layers that the paper names them by.
"""


@dataclass(frozen=True, kw_only=True)
class SparseVLM(Method):
    """Keep tokens attended by text about the picture; merge some of the other tokens.

    Based on "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference" (arXiv 2410.04417).
    Raters are the text tokens whose share of softmax(visual · textᵀ), averaged over the visual tokens, is above the
    mean; `visual` and `text` are the embeddings that entered the LLM. The best 30 % of the pruned tokens are grouped
    by density peaks, ten to a group, and each group's mean stays in the place of its centre, within the budget.

    Args:
        retain: visual tokens left, merged ones included; a fraction of those that entered or a count.
        layers: layers run before each stage, counts or fractions of the depth.
        shape: relative number of tokens that each stage leaves.
        counting: what `retain` counts: `input`, the tokens left after the last stage; `layer-average`, their mean over
            all layers, which is what the paper's 192, 128 and 64 are.
        kept: tokens left after each stage, counts or fractions of those that entered, in place of `retain`, `shape` and
            `counting`; see `published`.
        recycle: whether merged tokens stay.
        positions: see `Method`; nothing is chosen before the LLM, so `per` stays as it is.
    """

    retain: Retain = 1 / 3
    layers: Layers = (3 / 32, 7 / 32, 16 / 32)
    shape: tuple[Positive, ...] = (300, 200, 110)
    counting: Counting = "input"
    kept: tuple[Retain, ...] | None = None
    recycle: bool = True

    name: ClassVar[str] = "sparsevlm"
    summary: ClassVar[str] = "what the relevant text attends to, at three layers, with recycling"
    paper: ClassVar[str] = "arXiv 2410.04417"
    card: ClassVar[Card] = Card(
        venue="ICML 2025",
        acts=("reduce",),
        needs=("text", "attention", "hidden"),
        budget="Exact; with counting='layer-average' at most the mean, and less than one token below it.",
        follows=(
            "The code of version 1.5, which prunes after the layers with index 2, 6 and 15 have run, and recycles; 2.0 "
            "does not. Merged tokens count towards the budget and keep their centre's position, where the code appends "
            "them and truncates positions. Raters come from the embeddings, as in both, but are chosen anew at each "
            "stage, by the visual tokens still there."
        ),
    )
    reads_inputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for field in ("shape", "kept") if self.kept is not None else ("shape",):
            check_stages(self, field)
            check_falling(self, field, alike=field == "kept")

    @classmethod
    def published(cls, tokens: int) -> SparseVLM:
        """The method with the published `kept` for LLaVA-1.5's 576 tokens.

        Args:
            tokens: the paper's name of the list, 192, 128, 96 or 64. The 32 layers of LLaVA-1.5 see somewhat more in
                the mean, 202.75, 140.8, 110.25 and 79.2, as cuts come after 3, 7 and 16 of them.
        """
        tokens = fitted("tokens", tokens, Annotated[int, OneOf(tuple(LISTS))])
        return cls(retain=LISTS[tokens][-1], kept=LISTS[tokens])

    def reduce_after(self, n_layers: int) -> tuple[int, ...]:
        """Act after each of `layers`."""
        return resolve_layers(self.layers, n_layers)

    def reduce(self, context: ReduceContext) -> Reduction:
        """Rank by mean attention from the raters, and merge row by row."""
        from todre.methods.views.reduction import Reduction

        counts = row_counts(context, lambda entered: self._left(context, entered))
        scores = context.scores(raters(context), places=context.query_places)
        if not self.recycle:
            return context.best(scores, counts)
        keep, hidden = ~context.fresh, context.hidden.clone()
        for row, count in enumerate(counts.tolist()):
            slots = fresh_slots(context, row)
            if count >= len(slots):
                keep[row] = True
                continue
            columns = columns_of(context, slots)
            top, centres, merged = _recycled(scores[row, slots], context.hidden[row, columns], count)
            keep[row, slots[top]] = True
            keep[row, slots[centres]] = True
            hidden[row, columns[centres]] = merged.to(hidden.dtype)
        return Reduction(keep, hidden=hidden, left=remaining_counts(context, counts))

    def _left(self, context: ReduceContext, entered: int) -> int:
        """Number of tokens left after this stage, out of `entered`."""
        stages = resolve_stages(self.layers, context.n_layers)
        number = stage_at(stages, context.layer)
        if self.kept is not None:
            return budget(self.kept[number], entered)
        wanted = budget(self.retain, entered)
        if self.counting == "input":
            return min(entered, round(wanted * self.shape[number] / self.shape[-1]))
        numbers = [each for _, each in stages]
        layers = [layer for layer, _ in stages]
        shape = [self.shape[each] for each in numbers]
        return stage_counts(wanted, entered, layers, shape, context.n_layers)[numbers.index(number)]


def raters(context: ReduceContext) -> Tensor:
    """Text tokens that rate the picture, (b, q) bool.

    Where no text token stands out, all text rates; in a row without text, its last token rates.
    """
    import torch

    text = context.text_rows
    asked = torch.where(text.any(dim=1, keepdim=True), text, context.last_row)
    visual, inputs = context.fresh[:, -context.queries :], context.inputs
    for row in range(len(text)):
        states = inputs[row].float()
        if not bool(text[row].any()) or not bool(visual[row].any()):
            continue
        share = (states[visual[row]] @ states[text[row]].T).softmax(dim=1).mean(dim=0)
        above = share > share.mean()
        if bool(above.any()):
            asked[row, text[row]] = above
    return asked


def _recycled(scores: Tensor, states: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split scored tokens into kept ones and merged groups.

    Args:
        scores: (n,).
        states: (n, d).
        count: tokens to keep, merged ones included.

    Returns:
        Indices of the kept tokens, indices of the groups' centres, and the groups' mean states.
    """
    import torch

    leaving = len(scores) - count
    groups = min(int(int(leaving * 0.3 + 1) / 10) + 1, count - 1)
    order = best(scores, len(scores))
    top, rest = order[: count - groups], order[count - groups :]
    if groups <= 0:
        return top, rest[:0], states[:0]
    pool = rest[: max(groups, int(len(rest) * 0.3) + 1)].sort().values
    centres, member = density_peaks(states[pool], groups)
    sums = states.new_zeros((groups, states.shape[1]), dtype=torch.float32)
    sums.index_add_(0, member, states[pool].float())
    return top, pool[centres], sums / group_sizes(member, groups)[:, None]
