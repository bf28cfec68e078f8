"""Runs of a decoder, or of its layers one by one, on one's own inputs and cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from todre.hf.calls import cache_argument
from todre.hf.keywords import EMBEDS, MASK, POSITIONS, ROTARY, STATES
from todre.hf.model_parts import base_module, last_states


def run_decoder(decoder: Any, embeds: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
    """Hidden states after the decoder's last layer and its final norm, (b, q, d).

    Args:
        decoder: the text decoder.
        embeds: (b, q, d) embeddings.
        mask: (b, 1, q, k) bool, True where a query sees a key; the same for all layers.
        positions: (b, q) int64.
        cache: the KV cache, which gets the columns' keys and values.
    """
    arguments = {EMBEDS: embeds, MASK: mask, POSITIONS: positions}
    return last_states(decoder(**arguments, **cache_argument(decoder, cache)))


def run_layers(decoder: Any, embeds: Tensor, masks: Sequence[Tensor], positions: Tensor, cache: Any) -> Tensor:
    """Hidden states after the final norm, (b, q, d), from a run with a mask per layer.

    The layers must take hidden states first and return them alone, as Llama's do.

    Args:
        decoder: the text decoder.
        embeds: (b, q, d) embeddings.
        masks: for each layer, (b, 1, q, k) bool, True where a query sees a key.
        positions: (b, q) int64.
        cache: the KV cache, which gets the columns' keys and values.
    """
    arguments = {POSITIONS: positions, ROTARY: rotary_angles(decoder, embeds, positions)}
    hidden = embeds
    for layer, mask in zip(decoder.layers, masks, strict=True):
        hidden = layer(hidden, **{MASK: mask}, **arguments, **cache_argument(layer, cache))
    normed: Tensor = decoder.norm(hidden)
    return normed


def rotary_angles(decoder: Any, embeds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions (b, q), (b, q, c) each.

    Both have the dtype and device of `embeds`.
    """
    cosines, sines = decoder.rotary_emb(embeds, **{POSITIONS: positions})
    return cosines, sines


def split_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """A layer's hidden states, passed by position or by name, and its other arguments."""
    arguments = dict(zip((STATES, MASK), args, strict=False)) | kwargs
    hidden: Tensor = arguments.pop(STATES)
    return hidden, arguments


def layer_angles(kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    """The rotary angles of a layer's call: cosines and sines, (…, b or 1, q, c)."""
    return tuple(kwargs[ROTARY])


def with_angles(kwargs: dict[str, Any], angles: tuple[Tensor, ...]) -> dict[str, Any]:
    """A layer's arguments with other rotary angles."""
    return kwargs | {ROTARY: angles}


def numbers_axes(model: Any) -> bool:
    """True if a model's positions have axes for time, height and width (M-RoPE)."""
    return hasattr(base_module(model), "get_rope_index")
