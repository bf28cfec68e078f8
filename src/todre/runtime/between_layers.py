"""Between two decoder layers: ask methods, drop tokens, rewrite arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from todre.hf.layer_calls import follow, layer_angles, layer_positions, with_mask, with_positions
from todre.methods.base import Method
from todre.methods.views.answers import check_reduction
from todre.methods.views.decoder_layer import ReduceContext
from todre.methods.views.reduction import Reduction
from todre.runtime.dropping import drop_slots, rejoin_slots
from todre.runtime.layer_masks import plan_masks
from todre.runtime.peek import after_cached_keys, check_assumed, next_attention
from todre.runtime.positions import match_axes
from todre.runtime.step import ParkedState, Step
from todre.tensors.attention import AttentionInputs
from todre.tensors.autocast import current_autocast, no_autocast
from todre.tensors.columns import PAD, VISUAL, Compaction
from todre.tensors.transfer import fetch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a layer; hidden states come first."""


def before_layer(step: Step, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
    """Arguments of the layer with index `index` (from 0); None keeps the loop's own.

    Parked tokens come back and methods are asked first.
    """
    answers, schedule = step.answers, step.inputs.schedule
    if answers.peeking:
        return None
    if index + 1 in answers.assumed:
        check_assumed(index + 1, *answers.assumed.pop(index + 1), kwargs)
    if answers.parked is not None and index + 1 in schedule.rejoins:
        args = (rejoin_slots(step, answers.parked, index, args[0]), *args[1:])
        plan_masks(step, index, args[0])
    if index in schedule.reducers and step.wants(index):
        args = (reduce_at(step, index, args, kwargs), *args[1:])
    if step.in_flight.from_loop is None and index not in step.masks and step.layer_positions is None:
        return (args, kwargs) if index in answers.reductions else None
    return layer_arguments(step, index, args, kwargs)


def layer_arguments(step: Step, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Arguments of the layer with index `index` (from 0), replacing the loop's own."""
    from_loop = step.in_flight.from_loop
    if from_loop is not None:
        args, kwargs = _follow_columns(step, from_loop, args, kwargs)
    else:
        real, loop_positions = step.layer_positions, layer_positions(kwargs)
        if real is not None and loop_positions is not None:
            kwargs = with_positions(kwargs, match_axes(real, loop_positions))
    if index in step.masks:
        kwargs = with_mask(kwargs, step.masks[index])
    return args, kwargs


def _follow_columns(step: Step, from_loop: Compaction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """A layer's arguments for the columns in flight, after some columns left.

    Args:
        step: the running forward.
        from_loop: from the columns that the decoder's loop holds to those in flight.
        args, kwargs: the arguments that the loop passes for its own columns.
    """
    loop_positions = layer_positions(kwargs)
    args, kwargs = follow(from_loop, args, kwargs, step.inputs.past)
    if step.inputs.decoder.shows_positions and loop_positions is not None:
        shown = step.layer_positions
        real = loop_positions if shown is None else match_axes(shown, loop_positions)
        kwargs = with_positions(kwargs, from_loop.take_positions(real))
    return args, kwargs


def reduce_at(step: Step, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Hidden states left once methods were asked after layer `index` (1-based).

    Args:
        step: the running forward.
        index: count of layers that have run, which is also the index (from 0) of the next.
        args, kwargs: the next layer's arguments, (b, q, d) hidden states first.
    """
    hidden: Tensor = args[0]
    ambient = current_autocast(hidden.device)

    def peek() -> AttentionInputs:
        with ambient:
            return next_attention(step, index, layer_arguments(step, index, (hidden, *args[1:]), kwargs))

    def angles() -> tuple[Tensor, Tensor] | None:
        return layer_angles(layer_arguments(step, index, (hidden, *args[1:]), kwargs)[1])

    # The loop's arguments for the layer that ran last, which has full attention, as those that are looked at.
    # Whether these get the same is checked when their turn comes; only the next layer's own arguments are known now.
    passed = step.answers.passed.pop(index, None)

    def look(later: int) -> tuple[AttentionInputs, Tensor]:
        rest, named = (args[1:], kwargs) if later == index + 1 or passed is None else passed
        step.answers.assumed[later] = index, named
        with ambient:
            made = next_attention(step, later - 1, layer_arguments(step, later - 1, (hidden, *rest), named))
        return after_cached_keys(step, later, made, hidden.device), step.key_kinds(later).to(hidden.device)

    reduction = ask(step, index, hidden, peek, look, angles)
    if reduction.parks:
        step.answers.parked = ParkedState(
            layer=index,
            method=step.inputs.schedule.parking(index),
            hidden=hidden,
            in_flight=step.in_flight,
            memo=reduction.memo,
        )
    kinds = step.key_kinds(index)
    keep = reduction.keep.to(kinds.device)
    left, left_earlier = _count_left(step, index, reduction, kinds, keep)
    if reduction.hidden is not None:
        hidden = reduction.hidden.to(hidden.dtype)
    cached = left_earlier != step.cached_visual(index)
    if cached or left != list(step.in_flight.counts.visual):
        hidden = drop_slots(step, index, (kinds == VISUAL) & ~keep, hidden, left, cached)
        plan_masks(step, index, hidden)
    return hidden


def _count_left(
    step: Step, index: int, reduction: Reduction, kinds: Tensor, keep: Tensor
) -> tuple[list[int], list[int]]:
    """Visual slots left in each row, of this forward and of earlier ones.

    Where the method does not say how many are left, the counts are read from the device, once, together with its
    ratios.
    """
    if reduction.left is not None:
        earlier = step.cached_visual(index) if reduction.earlier is None else reduction.earlier
        return list(reduction.left), list(earlier)
    kept = (kinds == VISUAL) & keep
    # The key slots of a layer are those cached before this forward, then the columns in flight.
    cached = kept.shape[1] - step.in_flight.columns.shape[1]
    counts = [kept[:, cached:].sum(dim=1), kept[:, :cached].sum(dim=1)]
    ratios = [] if reduction.text_to_visual is None else [reduction.text_to_visual.to(kinds.device)]
    ratios += [] if reduction.visual_to_text is None else [reduction.visual_to_text.to(kinds.device)]
    left, left_earlier, *ratios = fetch([*counts, *ratios])
    if len(ratios) == 2:
        answered = dataclasses.replace(reduction, text_to_visual=ratios[0], visual_to_text=ratios[1])
        step.answers.reductions[index] = answered
    return left.tolist(), left_earlier.tolist()


def ask(
    step: Step,
    layer: int,
    hidden: Tensor,
    peek: Callable[[], AttentionInputs],
    look: Callable[[int], tuple[AttentionInputs, Tensor]] | None = None,
    angles: Callable[[], tuple[Tensor, Tensor] | None] | None = None,
) -> Reduction:
    """The joint answer of all methods that are asked after layer `layer` (1-based).

    Each method sees the tokens that the methods before it left.

    Args:
        step: the running forward.
        layer: count of layers that have run.
        hidden: (b, q, d) hidden states that enter the next layer.
        peek: computes the queries and keys that the next layer will make of `hidden`.
        look: computes those that a later layer would make of it; see `ReduceContext`.
        angles: finds the rotary angles that the next layer is given; see `ReduceContext`.
    """
    in_flight, cached = step.in_flight.counts.visual, step.cached_visual(layer)
    step.answers.held_visual[layer] = [now + earlier > 0 for now, earlier in zip(in_flight, cached, strict=True)]
    first, *others = step.inputs.schedule.reducers[layer]
    context = dataclasses.replace(_first_context(step, layer, hidden, peek), look=look, angles=angles)
    joint = answer = _answer_of(step, first, context)
    for method in others:
        context = _next_context(context, joint, answer)
        answer = _answer_of(step, method, context)
        joint = answer.after(joint)
    step.answers.reductions[layer] = joint
    return joint


def _answer_of(step: Step, method: Method, context: ReduceContext) -> Reduction:
    """The checked answer of one method, which is told where it is asked again.

    It is shown the memo of its own latest answer.
    """
    later, memos = step.inputs.schedule.asked_later(method, context.layer), step.answers.memos
    context = dataclasses.replace(context, asked_later=later, memo=memos.get(method))
    with no_autocast(context.hidden.device):
        answer = check_reduction(method, method.reduce(context), context)
    if answer.memo is not None:
        memos[method] = answer.memo
    return answer


def _first_context(step: Step, layer: int, hidden: Tensor, peek: Callable[[], AttentionInputs]) -> ReduceContext:
    """The context of the first method that is asked after layer `layer` (1-based)."""
    selection, answers = step.selection, step.answers
    counts, offered = ([], []) if selection is None else (selection.counts, selection.offered)
    return ReduceContext(
        layer=layer,
        n_layers=step.n_layers,
        attention_inputs=answers.attention.pop(layer, None),
        kinds=step.key_kinds(layer).to(hidden.device),
        hidden=hidden,
        entered=torch.tensor(counts, dtype=torch.int64, device="cpu"),
        offered=torch.tensor(offered, dtype=torch.int64, device="cpu"),
        columns=step.own_columns,
        signal_maps=answers.signal_maps,
        entry=answers.entry,
        peek=peek,
        row_counts=step.in_flight.counts,
        present=step.in_flight.counts.visual,
        earlier=step.cached_visual(layer),
        causal=step.inputs.block_masks is None,
        readable_later=tuple(each for each in step.inputs.decoder.full_layers if each > layer),
    )


def _next_context(context: ReduceContext, joint: Reduction, last: Reduction) -> ReduceContext:
    """The context of the next method at the same layer.

    Args:
        context: context of the method before it.
        joint: joint answer of all methods before it.
        last: answer of the last of these methods.
    """
    counted = last.left is not None and last.earlier is None
    return dataclasses.replace(
        context,
        kinds=context.kinds.masked_fill(context.visual & ~joint.keep.to(context.kinds.device), PAD),
        hidden=context.hidden if joint.hidden is None else joint.hidden,
        present=last.left,
        earlier=context.earlier if counted else last.earlier,
    )
