"""A peek: a layer's coming queries and keys, without running the rest of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from todre.errors import UnsupportedModelError
from todre.hf import cache as kv
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.layer_calls import same_angles, without_cache
from todre.runtime.step import Step
from todre.tensors.attention import AttentionInputs


class _Enough(Exception):
    """Raised to stop the layer once its attention function is reached."""


def next_attention(step: Step, index: int, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> AttentionInputs:
    """Queries and keys of the layer with index `index` (from 0), before it runs.

    The layer runs up to its attention function without the cache, which stays as it is.

    Args:
        step: the running forward.
        index: index of the layer, from 0.
        arguments: positional and keyword arguments of the layer.

    Returns:
        Queries (b, heads, q, d) and keys (b, kv_heads, q, d), and the other inputs of attention.

    Raises:
        UnsupportedModelError: there is no such layer, or its attention cannot be read.
    """
    layers = list(step.inputs.decoder.layers)
    modules = attention_modules(layers[index]) if index < len(layers) else []
    if len(modules) != 1:
        raise UnsupportedModelError(f"The attention of layer {index + 1} of {len(layers)} cannot be read beforehand.")
    found: list[AttentionInputs] = []

    def listen(attention_inputs: AttentionInputs) -> None:
        found.append(attention_inputs)
        raise _Enough

    args, kwargs = arguments
    handles = watch(modules[0], listen, when=lambda: True)
    step.answers.peeking = True
    try:
        # `forward`, not `__call__`: hooks of others, such as those that record hidden states, must not see this run.
        layers[index].forward(*args, **without_cache(kwargs))
    except _Enough:
        pass
    finally:
        step.answers.peeking = False
        for handle in handles:
            handle.remove()
    return found[0]


def after_cached_keys(step: Step, layer: int, made: AttentionInputs, device: torch.device) -> AttentionInputs:
    """The inputs of a layer's attention, with the keys that its cache already holds.

    Values are left out.

    Args:
        step: the running forward.
        layer: the layer (1-based), which has not run yet.
        made: its queries and keys for the columns in flight alone.
        device: device of the answer.
    """
    held, key = step.cache_layer(layer - 1), made.key.to(device)
    if held is not None and kv.has_keys(held):
        key = torch.cat([held.keys.to(key), key], dim=2)
    mask = None if made.mask is None else made.mask.to(device)
    return replace(made, query=made.query.to(device), key=key, mask=mask, value=None)


def check_assumed(layer: int, earlier: int, assumed: dict[str, Any], passed: dict[str, Any]) -> None:
    """Check that a layer that was looked at is given what was assumed.

    Only now, when its turn has come, is it known what the decoder's loop passes to it.

    Args:
        layer: the layer (1-based) that runs next.
        earlier: the layer whose arguments it was given when it was looked at.
        assumed: keyword arguments of the earlier layer.
        passed: keyword arguments that the loop passes to this layer.

    Raises:
        UnsupportedModelError: the two layers get different rotary angles, so what was seen ahead was wrong.
    """
    if not same_angles(assumed, passed):
        raise UnsupportedModelError(
            f"Layers {earlier} and {layer} of this decoder turn positions into angles differently, so layer {layer} "
            "cannot be looked at ahead of its turn; use ahead='no'."
        )
