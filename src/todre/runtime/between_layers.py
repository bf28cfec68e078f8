"""Ask the methods between two decoder layers, and do as they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from todre.methods.views.answers import check_reduction
from todre.methods.views.decoder_layer import ReduceContext, Reduction
from todre.runtime.dropping import ParkedState, drop_slots
from todre.runtime.layer_masks import plan_masks
from todre.runtime.peek import next_attention
from todre.tensors.attention import AttentionInputs
from todre.tensors.autocast import current_autocast, no_autocast
from todre.tensors.columns import PAD, VISUAL
from todre.tensors.transfer import fetch

if TYPE_CHECKING:
    from todre.runtime.step import Step


def reduce_at(step: Step, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Ask the methods after `index` layers, and drop what they drop; hidden states of what is left."""
    hidden: Tensor = args[0]
    ambient = current_autocast(hidden.device)

    def peek() -> AttentionInputs:
        with ambient:
            return next_attention(step, index, step.given(index, (hidden, *args[1:]), kwargs))

    reduction = ask(step, index, hidden, peek)
    if reduction.parks:
        step.parked = ParkedState.of(step, index, hidden, reduction.memo)
    kinds = step.key_kinds(index)
    keep = reduction.keep.to(kinds.device)
    fresh, earlier = _left(step, index, reduction, kinds, keep)
    if reduction.hidden is not None:
        hidden = reduction.hidden.to(hidden.dtype)
    held = step.earlier(index)
    if fresh != list(step.flight.visual) or earlier != held:
        hidden = drop_slots(step, index, (kinds == VISUAL) & ~keep, hidden, fresh, earlier != held)
        plan_masks(step, index, hidden)
    return hidden


def _left(step: Step, index: int, reduction: Reduction, kinds: Tensor, keep: Tensor) -> tuple[list[int], list[int]]:
    """How many visual slots of this forward, and of earlier ones, each row still has: one read if nobody knows."""
    if reduction.left is not None:
        earlier = step.earlier(index) if reduction.earlier is None else reduction.earlier
        return list(reduction.left), list(earlier)
    kept = (kinds == VISUAL) & keep
    before = kept.shape[1] - step.columns.shape[1]
    counts = [kept[:, before:].sum(dim=1), kept[:, :before].sum(dim=1)]
    ratios = [] if reduction.text_to_visual is None else [reduction.text_to_visual.to(kinds.device)]
    ratios += [] if reduction.visual_to_text is None else [reduction.visual_to_text.to(kinds.device)]
    left, held, *ratios = fetch([*counts, *ratios])
    if len(ratios) == 2:
        step.reductions[index] = dataclasses.replace(reduction, text_to_visual=ratios[0], visual_to_text=ratios[1])
    return left.tolist(), held.tolist()


def ask(step: Step, layer: int, hidden: Tensor, peek: Callable[[], AttentionInputs]) -> Reduction:
    """The answer of all methods that are asked after `layer` layers; each sees what those before it left."""
    kinds = step.key_kinds(layer).to(hidden.device)
    assert step.selected is not None
    present: Sequence[int] | None = step.flight.visual
    earlier: Sequence[int] | None = step.earlier(layer)
    rows = zip(step.flight.visual, step.earlier(layer), strict=True)
    step.ratio_rows[layer] = [fresh + held > 0 for fresh, held in rows]
    entered = torch.tensor(step.selected.counts, dtype=torch.int64, device="cpu")
    offered = torch.tensor(step.selected.offered, dtype=torch.int64, device="cpu")
    seen, answer = step.seen.pop(layer, None), None
    columns = torch.where(step.columns >= 0, step.columns - step.past, -1)
    for method in step.plan.reducers[layer]:
        context = ReduceContext(
            layer=layer,
            n_layers=step.n_layers,
            attention_inputs=seen,
            kinds=kinds,
            hidden=hidden,
            entered=entered,
            offered=offered,
            columns=columns,
            signal_maps=step.told,
            entry=step.entry,
            peek=peek,
            row_counts=step.flight,
            present=present,
            earlier=earlier,
            causal=step.said is None,
        )
        with no_autocast(hidden.device):
            one = check_reduction(method, method.reduce(context), context)
        answer = one.after(answer)
        kinds = kinds.masked_fill(context.visual & ~answer.keep.to(kinds.device), PAD)
        hidden = hidden if answer.hidden is None else answer.hidden
        present = one.left
        earlier = earlier if one.left is not None and one.earlier is None else one.earlier
    assert answer is not None
    step.reductions[layer] = answer
    return answer
