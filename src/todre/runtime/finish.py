"""Finish: ask what is asked after the last layer, and put outputs back to the length that came in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.hf.model_parts import all_states, last_states, replace_states
from todre.runtime.between_layers import ask
from todre.runtime.peek import next_attention
from todre.runtime.step import Step
from todre.tensors.columns import put_back


def finish(step: Step, output: Any) -> Any:
    """The decoder's output at the length that came in, after the last methods were asked."""
    last = step.n_layers
    if last in step.answers.attention:
        hidden = last_states(output)
        ask(step, last, hidden, lambda: next_attention(step, last, ((hidden,), {})))
    return restore(step, output)


def restore(step: Step, output: Any) -> Any:
    """Put the hidden states of `output` back to the length that came in.

    A visual token that was dropped shows what the last survivor before it has (zeros if there is none), so that what
    follows a picture, also at the end of a prompt, is predicted as if the token had never been there. So does padding
    behind a row's last token: what follows the row is predicted there, too.
    """
    if not step.in_flight.packed and step.segments is None:
        return output
    states = all_states(output)
    restored = _restore_rows(step, last_states(output), step.in_flight.columns)
    every = None if states is None else tuple(_restore_depth(step, depth, state) for depth, state in enumerate(states))
    return replace_states(output, restored, every)


def _restore_depth(step: Step, depth: int, state: Tensor) -> Tensor:
    """Hidden states after `depth` layers, at the length and in the rows that came in."""
    for stage in reversed([stage for stage in step.trace if stage.layers <= depth]):
        if stage.columns.shape[1] == state.shape[1]:
            return _restore_rows(step, state, stage.columns)
    return state if step.segments is None else step.segments.back(state)


def _restore_rows(step: Step, state: Tensor, columns: Tensor) -> Tensor:
    """(b, l, d) of the states (b, q, d) of some `columns` (b, q), in the rows that came in."""
    whole = _lengthen(step, state, columns)
    return whole if step.segments is None else step.segments.back(whole)


def _lengthen(step: Step, state: Tensor, columns: Tensor) -> Tensor:
    """(b, l, d): where a column is gone stands what the last one before it has."""
    inputs = step.inputs
    if state.shape[1] == inputs.length and columns.shape[1] != inputs.length:
        return state
    lending = inputs.visual
    if lending is not None and inputs.mask is not None:
        lending = lending | ~inputs.mask[:, inputs.past :]
    return put_back(state, torch.where(columns >= 0, columns - inputs.past, -1), inputs.length, lending)
