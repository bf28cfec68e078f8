"""Ask the methods between two decoder layers, and do as they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from todre.attention import Seen, as_written
from todre.dropping import Kept, drop_slots
from todre.layout import PAD, VISUAL
from todre.mask_plan import plan_masks
from todre.probe import next_attention
from todre.reduction import ReduceContext, Reduction

if TYPE_CHECKING:
    from todre.step import Step


def reduce_at(step: Step, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Ask the methods after `index` layers, and drop what they drop; hidden states of what is left."""
    hidden: Tensor = args[0]

    def peek() -> Seen:
        return next_attention(step, index, step.given(index, (hidden, *args[1:]), kwargs))

    reduction = ask(step, index, hidden, peek)
    kinds = step.key_kinds(index)
    drop = (kinds == VISUAL) & ~reduction.keep.to(kinds.device)
    if reduction.parks:
        step.parked = Kept.of(step, index, hidden, reduction.memo)
    if reduction.hidden is not None:
        hidden = reduction.hidden.to(hidden.dtype)
    if bool(drop.any()):
        hidden = drop_slots(step, index, drop, hidden)
        plan_masks(step, index, hidden)
    return hidden


def ask(step: Step, layer: int, hidden: Tensor, peek: Callable[[], Seen]) -> Reduction:
    """The answer of all methods that are asked after `layer` layers; each sees what those before it left."""
    kinds = step.key_kinds(layer).to(hidden.device)
    step.ratio_rows[layer] = (kinds == VISUAL).any(dim=1)
    assert step.visual is not None
    assert step.keep is not None
    counts = (step.keep.sum(dim=1).to(hidden.device), step.visual.sum(dim=1).to(hidden.device))
    seen, answer = step.seen.pop(layer, None), None
    columns = torch.where(step.columns >= 0, step.columns - step.past, -1)
    for method in step.plan.reducers[layer]:
        context = ReduceContext(
            layer, step.n_layers, seen, kinds, hidden, *counts, columns, step.told, step.entry, peek
        )
        with as_written(hidden.device):
            answer = method.reduce(context).after(answer)
        kinds = kinds.masked_fill(context.visual & ~answer.keep.to(kinds.device), PAD)
        hidden = hidden if answer.hidden is None else answer.hidden
    assert answer is not None
    step.reductions[layer] = answer
    return answer
