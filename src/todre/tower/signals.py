"""Signals of a vision tower: which layer is watched for one, and what is read of its attention."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedModelError
from todre.hf.attention_tap import attention_modules
from todre.tensors.attention import AttentionInputs, cls_attention, received_attention
from todre.tensors.transfer import fetch

_WHOLE = (torch.int32, torch.int64)


def host_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name; sizes and grids on the host, read before the tower has any work."""
    arguments: dict[str, Any] = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    arguments |= arguments.pop("kwargs", {})
    counts = {name: x for name, x in arguments.items() if isinstance(x, Tensor) and x.dtype in _WHOLE and x.ndim <= 2}
    return arguments | dict(zip(counts, fetch(list(counts.values())), strict=True))


def side_by_side(signals: list[list[Tensor]]) -> list[Tensor]:
    """(tiles, tokens, c) of each call of the tower, all signals together.

    Layers that attend to the parts of a packed sequence one by one were called once for each.
    """
    if len({len(calls) for calls in signals}) > 1:
        signals = [[torch.cat(calls, dim=1)] for calls in signals]
    return [torch.cat(parts, dim=-1) for parts in zip(*signals, strict=True)]


def read_signal(kind: str, attention_inputs: AttentionInputs, leading: int) -> Tensor:
    """(tiles, patches, c) float32."""
    if kind == "cls":
        return cls_attention(attention_inputs, leading)[..., None]
    values = (
        received_attention(attention_inputs)[..., None]
        if kind == "received"
        else attention_inputs.key.float().mean(dim=1)
    )
    if kind == "grid":
        values = values[..., :0]
    return values[:, leading:]


def watched_layer(tower: nn.Module, layer: float) -> nn.Module:
    """The attention module of a tower's layer, counted as Python does or given as a share of the depth.

    Raises:
        UnsupportedModelError: the tower has no such layer.
    """
    modules = attention_modules(tower)
    if isinstance(layer, float):
        layer = math.floor(layer * len(modules) + 1e-9)
    if not -len(modules) <= layer < len(modules):
        raise UnsupportedModelError(
            f"The vision tower {type(tower).__name__} has {len(modules)} layers, and layer {layer} is asked for."
        )
    return modules[int(layer)]
