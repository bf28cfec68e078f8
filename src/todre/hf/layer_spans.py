"""Runs of some of a decoder's layers on one's own states, keys and masks.

The layers must take hidden states first and return them alone, as Llama's do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from todre.hf.calls import cache_argument
from todre.hf.decoder_runs import rotary_angles, split_states
from todre.hf.keywords import MASK, POSITIONS, ROTARY

Seen = Callable[[int, Tensor], None]
"""Called with a layer's index (from 0) and the (b, q, d) states that enter it."""


class LayerSlots:
    """Keys and values of one layer, to which those of each run are appended.

    Args:
        keys, values: (b, heads, s, c) each; None for a layer that holds none yet.

    Tensors are never changed in place, so several objects may begin with the same ones.
    """

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        self.keys, self.values = keys, values

    def update(self, key: Tensor, value: Tensor, layer: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values, as transformers' caches do; returns all of them."""
        if self.keys is not None and self.values is not None:
            key, value = torch.cat([self.keys, key], dim=2), torch.cat([self.values, value], dim=2)
        self.keys, self.values = key, value
        return key, value

    def part(self, where: Tensor | slice) -> LayerSlots:
        """A copy that holds the slots `where`, indices (m,) int64 or a slice."""
        if self.keys is None or self.values is None:
            return LayerSlots()
        return LayerSlots(self.keys[:, :, where], self.values[:, :, where])


def run_span(
    decoder: Any,
    states: Tensor,
    span: Sequence[int],
    positions: Tensor,
    slots: Sequence[LayerSlots],
    masks: Mapping[int, Tensor | None],
    seen: Seen = lambda layer, states: None,
) -> Tensor:
    """States after the layers `span`, before the decoder's final norm, (b, q, d).

    Args:
        decoder: the text decoder.
        states: (b, q, d) states that enter the first layer of `span`.
        span: indices of layers (from 0), ascending; others are skipped.
        positions: (b, q) int64.
        slots: keys and values of every layer of the decoder; those of `span` get the columns' own.
        masks: for each layer of `span`, (b, 1, q, k) bool, True where a query sees a key; None for causal attention
            on empty slots.
        seen: shown the states that enter each layer.
    """
    arguments = {POSITIONS: positions, ROTARY: rotary_angles(decoder, states, positions)}
    for index in span:
        seen(index, states)
        layer = decoder.layers[index]
        states = layer(states, **{MASK: masks[index]}, **arguments, **cache_argument(layer, slots[index]))
    return states


def final_norm(decoder: Any, states: Tensor) -> Tensor:
    """States after the decoder's final norm, (…, d)."""
    normed: Tensor = decoder.norm(states)
    return normed


@contextmanager
def entering_states(decoder: Any, layers: Iterable[int], seen: Seen) -> Iterator[None]:
    """Show `seen` the states that enter `layers` (from 0) inside the block."""

    def show(index: int, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen(index, split_states(args, kwargs)[0])

    handles = [
        decoder.layers[index].register_forward_pre_hook(functools.partial(show, index), with_kwargs=True)
        for index in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
