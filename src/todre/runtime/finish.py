"""Finish: ask methods after the last layer, and put outputs back at full length."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.model_parts import all_states, has_attention_maps, has_router_logits, last_states, replace_states
from todre.runtime.between_layers import ask
from todre.runtime.peek import next_attention
from todre.runtime.step import Step
from todre.tensors.columns import put_back


def finish(step: Step, output: Any) -> Any:
    """The decoder's output, put back at the length of its input.

    Methods that read the last layer's attention are asked first.
    """
    last = step.n_layers
    if last in step.answers.attention:
        hidden = last_states(output)
        ask(step, last, hidden, lambda: next_attention(step, last, ((hidden,), {})))
    return restore(step, output)


def restore(step: Step, output: Any) -> Any:
    """The decoder's output, its hidden states put back at the length of its input.

    At a dropped visual token stands the state of the last kept column before it (zeros if there is none). So the
    token after a picture, also at the end of a prompt, is predicted as if the dropped token had never been there.
    Padding behind a row's last token is filled the same way, since the token after the row is predicted there.

    Raises:
        UnsupportedInputError: the caller asked for routers' logits, from which a loss over all tokens is computed.
    """
    if not step.in_flight.packed and step.segments is None:
        return output
    _check_others(output)
    states = all_states(output)
    restored = _restore_rows(step, last_states(output), step.in_flight.columns)
    every = None if states is None else tuple(_restore_depth(step, depth, state) for depth, state in enumerate(states))
    return replace_states(output, restored, every)


def _check_others(output: Any) -> None:
    """Refuse or note outputs that exist for the tokens that are left alone."""
    if has_router_logits(output):
        raise UnsupportedInputError(
            "Logits of routers exist for the tokens that are left alone, so a loss over the prompt's mask would be "
            "wrong; use output_router_logits=False."
        )
    if has_attention_maps(output):
        warnings.warn(
            "Attention maps are those of the tokens left in each layer, whose columns are not the prompt's; todre "
            "does not put them back at full length, as it does hidden states.",
            stacklevel=2,
        )


def _restore_depth(step: Step, depth: int, state: Tensor) -> Tensor:
    """Hidden states after `depth` layers, at full length."""
    # A layer's state is recorded before tokens leave after it, while those that left before the first layer are not in
    # the first one. Widths alone do not tell, since the longest row may lose nothing.
    before = [snapshot for snapshot in step.trace if snapshot.layers < depth or not snapshot.layers]
    for snapshot in reversed(before):
        if snapshot.columns.shape[1] == state.shape[1]:
            return _restore_rows(step, state, snapshot.columns)
    return state if step.segments is None else step.segments.back(state)


def _restore_rows(step: Step, state: Tensor, columns: Tensor) -> Tensor:
    """Hidden states (b, l, d) in the rows of the decoder's input.

    Args:
        step: the finished forward.
        state: (b, q, d) hidden states.
        columns: (b, q) int64 logical column of each state.
    """
    whole = _lengthen(step, state, columns)
    return whole if step.segments is None else step.segments.back(whole)


def _lengthen(step: Step, state: Tensor, columns: Tensor) -> Tensor:
    """Hidden states (b, l, d) of all columns; `restore` says which value a gap gets."""
    inputs = step.inputs
    if state.shape[1] == inputs.length and columns.shape[1] != inputs.length:
        return state
    # Columns without a state of their own that take the last one before them; see `put_back`.
    lending = inputs.visual
    if lending is not None and inputs.mask is not None:
        lending = lending | ~inputs.mask[:, inputs.past :]
    return put_back(state, torch.where(columns >= 0, columns - inputs.past, -1), inputs.length, lending)
