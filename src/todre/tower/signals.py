"""Signals of a vision tower: which layer to watch, what to read of its attention."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedModelError
from todre.hf.attention_tap import attention_modules, layers_of_whole_pictures
from todre.hf.leading_tokens import Leading
from todre.tensors.attention import AttentionInputs, cls_attention, received_attention
from todre.tensors.token_facts import Signal
from todre.tensors.transfer import fetch

_WHOLE = (torch.int32, torch.int64)
"""Integer dtypes of sizes and grids."""


def host_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name, with sizes and grids on the host.

    Sizes and grids are read before the tower has been given any work, so that nothing is waited for.
    """
    arguments: dict[str, Any] = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    arguments |= arguments.pop("kwargs", {})
    counts = {name: x for name, x in arguments.items() if isinstance(x, Tensor) and x.dtype in _WHOLE and x.ndim <= 2}
    return arguments | dict(zip(counts, fetch(list(counts.values())), strict=True))


def side_by_side(signals: list[list[Tensor]]) -> list[Tensor]:
    """All signals of each call of the tower side by side, (tiles, tokens, c).

    Layers that attend to the parts of a packed sequence one by one were called once for each part.
    """
    if len({len(calls) for calls in signals}) > 1:
        signals = [[torch.cat(calls, dim=1)] for calls in signals]
    return [torch.cat(parts, dim=-1) for parts in zip(*signals, strict=True)]


def read_signal(request: Signal, kind: str, attention_inputs: AttentionInputs, leading: int) -> Tensor:
    """One signal of a layer's attention, (tiles, patches, c) float32.

    Args:
        request: what was asked for.
        kind: `cls`, `received`, `keys` or `grid`.
        attention_inputs: queries and keys of the layer.
        leading: tokens before the patches.
    """
    if kind == "cls":
        return cls_attention(attention_inputs, leading)[..., None]
    values = (
        received_attention(attention_inputs, request.even)[..., None]
        if kind == "received"
        else attention_inputs.key.float().mean(dim=1)
    )
    if kind == "grid":
        values = values[..., :0]
    return values[:, leading:]


def watched_layer(tower: nn.Module, layer: float, kind: str) -> nn.Module:
    """The attention module of a tower in which a signal is read.

    See `layer_index` and `whole_layer`.

    Raises:
        UnsupportedModelError: the tower has no such layer.
    """
    modules = attention_modules(tower)
    index = layer_index(layer, len(modules), type(tower).__name__)
    return modules[whole_layer(index, kind, getattr(tower, "config", None))]


def whole_layer(index: int, kind: str, vision_config: Any) -> int:
    """The layer in which a signal is read.

    For attention received it is the nearest layer that sees whole pictures; of two that are as near, the deeper one.

    Args:
        index: the layer that is asked for, from 0.
        kind: `cls`, `received`, `keys` or `grid`.
        vision_config: of the tower.
    """
    whole = layers_of_whole_pictures(vision_config)
    if kind != "received" or not whole:
        return index
    return min(whole, key=lambda layer: (abs(layer - index), -layer))


def signal_kind(request: Signal, leading: Leading | None, tower: str, readable: bool) -> str | None:
    """The kind of the signal that is read for a request; None for none.

    Args:
        request: the signal that a method reads.
        leading: tokens before the tower's patches; None if they are not known.
        tower: name of the vision tower, for messages.
        readable: whether the tower's attention can be read and followed to visual tokens.

    Raises:
        UnsupportedModelError: the tower has no [CLS], or its attention cannot be followed.
    """
    if request.kind == "cls" and leading is not None and not leading.cls:
        several = f"has {leading.others} tokens before its patches, none of which is the one [CLS]"
        raise UnsupportedModelError(
            f"The vision tower {tower} {several if leading.others else 'has no [CLS] token'}; "
            "use pivot='received', pivot='random' or pivot='auto'."
        )
    readable = readable and leading is not None
    if not readable and request.kind not in ("auto", "grid", "strokes"):
        raise UnsupportedModelError(
            f"Attention in the vision tower {tower} cannot be followed to visual tokens; "
            "use a method without saliency, such as todre with pivot='random'."
        )
    if request.kind == "auto":
        return ("cls" if leading is not None and leading.cls else "received") if readable else None
    return request.kind if readable else None


def layer_index(layer: float, depth: int, tower: str) -> int:
    """Index, from 0, of a layer of a vision tower.

    Args:
        layer: an index as Python counts (from 0, or negative from the end), or a share of the depth.
        depth: number of layers.
        tower: name of the vision tower, for messages.

    Raises:
        UnsupportedModelError: the tower has no such layer.
    """
    if isinstance(layer, float):
        layer = math.floor(layer * depth + 1e-9)
    if not -depth <= layer < depth:
        raise UnsupportedModelError(f"The vision tower {tower} has {depth} layers, and layer {layer} is asked for.")
    return int(layer) % depth
