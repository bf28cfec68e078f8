"""What a decoder is handed besides embeddings, and what its loop hands every layer: one entry for each column.

Names differ from family to family; shapes do not. Whatever has one entry for each column follows the columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.layout import Compaction
from todre.positions import contiguous

_OWN_RULE = frozenset({"attention_mask", "position_ids", "past_key_values", "position_embeddings"})


def repack(kwargs: dict[str, Any], packed: Compaction, stay: Tensor | None, length: int) -> None:
    """Rewrite the decoder's `kwargs` in place for the columns that are left.

    Args:
        kwargs: what the decoder is called with.
        packed: from the columns that came in to those that are left.
        stay: (m,) int64, which of all visual columns, one row after the other, stay.
        length: q.
    """
    rows = packed.index.shape[0]
    for name, value in kwargs.items():
        if name in _OWN_RULE or not isinstance(value, Tensor) or value.ndim < 2:
            continue
        if value.shape[0] in (1, rows) and value.shape[1] == length:
            kwargs[name] = _taken(packed, value)
    features = kwargs.get("deepstack_visual_embeds")
    if features is not None and stay is not None:
        if isinstance(features, dict):
            kwargs["deepstack_visual_embeds"] = {key: one[stay.to(one.device)] for key, one in features.items()}
        else:
            kwargs["deepstack_visual_embeds"] = [one[stay.to(one.device)] for one in features]


def _taken(packed: Compaction, value: Tensor) -> Tensor:
    taken = packed.take(value)
    if taken.dtype == torch.bool:  # padding is not a visual column, whatever stood in the column it points to
        shape = packed.valid.shape + (1,) * (taken.ndim - 2)
        taken = taken & packed.valid.view(shape)
    return taken


def follow(
    inner: Compaction, args: tuple[Any, ...], kwargs: dict[str, Any], start: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a layer is given once columns left inside the decoder.

    Args:
        inner: from the columns that the decoder's loop holds to those in flight.
        args: positional arguments; the hidden states, first, are those in flight already.
        kwargs: keyword arguments as the loop hands them on.
        start: logical columns before this forward.
    """
    rows, width = inner.index.shape[0], inner.width
    taken = dict(kwargs)
    for name, value in kwargs.items():
        if name == "position_embeddings":
            taken[name] = _angles(inner, value)
        elif name == "position_ids":
            if isinstance(value, Tensor):
                taken[name] = contiguous(start, inner.index.shape[1], value.device)
        elif name not in _OWN_RULE and _per_column(value, rows, width):
            taken[name] = inner.take(value)
    rest = tuple(inner.take(value) if _per_column(value, rows, width) else value for value in args[1:])
    return (args[0], *rest), taken


def _angles(inner: Compaction, value: Any) -> Any:
    """Rotary angles, whatever holds them: the column is the last dimension but one, the batch the one before."""
    if isinstance(value, Tensor):
        return inner.take_angles(value)
    if isinstance(value, dict):
        return {key: _angles(inner, one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_angles(inner, one) for one in value)
    return value


def _per_column(value: Any, rows: int, width: int) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2 and value.shape[0] in (1, rows) and value.shape[1] == width
