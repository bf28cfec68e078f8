"""Arguments of decoder layers, rewritten for the columns that are kept.

Argument names differ from family to family, shapes do not: whatever has one entry per column follows the columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from todre.hf.calls import DecoderCall, contiguous
from todre.hf.keywords import CACHE_NAMES, FLASH_BOUNDS, MASK, POSITIONS, ROTARY, USE_CACHE
from todre.hf.wrappers import bare
from todre.tensors.columns import Compaction

_OWN_RULE = frozenset({*CACHE_NAMES, MASK, POSITIONS, ROTARY})


def repack(call: DecoderCall, packing: Compaction, stay: Tensor | None) -> None:
    """Rewrite `call` in place for the columns that are kept.

    Args:
        call: the decoder's call with (b, q, d) embeddings; its cache, mask and positions are left alone.
        packing: from all columns of `call` to the columns that are kept.
        stay: (m,) int64, the visual columns that stay, as indices into the visual columns of all rows in order.
    """
    rows, length = packing.index.shape[0], call.columns
    if call.embeds is not None:
        call.embeds = packing.take(call.embeds)
    for name, value in call.rest.items():
        if per_column(value, rows, length):
            call.rest[name] = _take(packing, value)
    # One tensor for each of the first layers, token first (Qwen3-VL, seen in 5.24); in a list, or a dict by layer.
    features = call.deepstack
    if features is not None and stay is not None:
        if isinstance(features, dict):
            call.deepstack = {key: one[stay.to(one.device)] for key, one in features.items()}
        else:
            call.deepstack = [one[stay.to(one.device)] for one in features]


_BOUNDS = (FLASH_BOUNDS, "cu_seq_lens_k")
_PACKING = frozenset({*_BOUNDS, "max_length_q", "max_length_k", "seq_idx"})
"""Arguments by which collators mark packed samples in training without padding.

They are transformers' FlashAttentionKwargs.
"""


def packed_bounds(rest: dict[str, Any]) -> Tensor | None:
    """Bounds of packed samples among all columns, (m + 1,) int; None if not given."""
    bounds = rest.get(_BOUNDS[0])
    return bounds if isinstance(bounds, Tensor) else None


def without_packing(rest: dict[str, Any]) -> dict[str, Any]:
    """A decoder's arguments without the bounds of packed samples."""
    return {name: value for name, value in rest.items() if name not in _PACKING}


def layer_positions(kwargs: dict[str, Any]) -> Tensor | None:
    """The positions in a layer's arguments, or None."""
    positions = kwargs.get(POSITIONS)
    return positions if isinstance(positions, Tensor) else None


def with_positions(kwargs: dict[str, Any], positions: Tensor) -> dict[str, Any]:
    """A layer's arguments with `positions` in place of its own."""
    return kwargs | {POSITIONS: positions}


def with_mask(kwargs: dict[str, Any], mask: Any) -> dict[str, Any]:
    """A layer's arguments with `mask` in place of its own."""
    return kwargs | {MASK: mask}


def layer_cache(kwargs: dict[str, Any]) -> Any:
    """The cache in a layer's arguments, or None."""
    return next((kwargs[name] for name in CACHE_NAMES if kwargs.get(name) is not None), None)


def with_cache(kwargs: dict[str, Any], cache: Any) -> dict[str, Any]:
    """A layer's arguments with `cache` in place of its own, by the decoder's keyword."""
    name = next((name for name in CACHE_NAMES if name in kwargs), CACHE_NAMES[0])
    return kwargs | {name: cache}


def without_cache(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A layer's arguments without a cache, so that running it stores nothing."""
    left = {name: value for name, value in kwargs.items() if name not in CACHE_NAMES}
    return left | {USE_CACHE: False} if USE_CACHE in left else left


def same_angles(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """True if two layers' arguments hold the very same rotary angles, or none."""
    return _identical(one.get(ROTARY), other.get(ROTARY))


def layer_angles(kwargs: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    """Cosine and sine of the rotary angles in a layer's arguments.

    Returns:
        (axes, b or 1, q, c) with M-RoPE where the decoder leaves the axes apart, else (b or 1, q, c), each; None if the
        layer is given no such pair.
    """
    value = kwargs.get(ROTARY)
    if isinstance(value, Tensor) and value.is_complex():  # Llama 4 (seen in 5.24)
        return value.real, value.imag
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    cosine, sine = value
    paired = all(isinstance(one, Tensor) and one.is_floating_point() and one.ndim >= 3 for one in (cosine, sine))
    return (cosine, sine) if paired and cosine.shape == sine.shape else None


def _identical(one: Any, other: Any) -> bool:
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_identical, one, other))
    return one is other


def runs_again_bare(layer: nn.Module) -> bool:
    """True if gradient checkpointing reruns a layer without a patched `forward`."""
    # Before 5.23 transformers checkpoints `__call__` of a layer, and the second run calls the class's own forward.
    # Since 5.23 it wraps the class's `forward`, which is inside the instance's patch.
    return type(bare(layer)).__call__ is not nn.Module.__call__


def rotary_positions(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A rotary embedding's positions: passed by name, or as the second argument."""
    positions: Tensor = kwargs[POSITIONS] if POSITIONS in kwargs else args[1]
    return positions


def with_rotary_positions(
    args: tuple[Any, ...], kwargs: dict[str, Any], positions: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A rotary embedding's arguments with other positions."""
    if POSITIONS in kwargs:
        return args, kwargs | {POSITIONS: positions}
    return (args[0], positions, *args[2:]), kwargs


def _take(packing: Compaction, value: Tensor) -> Tensor:
    """The kept columns of an argument; a bool argument is False at padding."""
    taken = packing.take(value)
    if taken.dtype == torch.bool:  # padding is not a visual column, whatever stood in the column it points to
        shape = packing.valid.shape + (1,) * (taken.ndim - 2)
        taken = taken & packing.valid.view(shape)
    return taken


def follow(
    from_loop: Compaction, args: tuple[Any, ...], kwargs: dict[str, Any], start: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A layer's arguments for the columns in flight, after some columns left.

    Args:
        from_loop: from the columns that the decoder's loop holds to those in flight.
        args: positional arguments; the first, the hidden states, holds only columns in flight already.
        kwargs: keyword arguments as the loop passes them.
        start: number of logical columns before this forward.
    """
    rows, width = from_loop.index.shape[0], from_loop.width
    taken = dict(kwargs)
    for name, value in kwargs.items():
        if name == ROTARY:
            taken[name] = _angles(from_loop, value)
        elif name == POSITIONS:
            # Contiguous, because gaps would be read as packed samples by flash attention (seen in 5.24).
            if isinstance(value, Tensor):
                taken[name] = contiguous(start, from_loop.index.shape[1], value.device)
        elif name not in _OWN_RULE and per_column(value, rows, width):
            taken[name] = from_loop.take(value)
    rest = tuple(from_loop.take(value) if per_column(value, rows, width) else value for value in args[1:])
    return (args[0], *rest), taken


def _angles(from_loop: Compaction, value: Any) -> Any:
    """The kept columns of rotary angles, in tensors, tuples, lists or dicts.

    Their last three dimensions are batch, column and channel.
    """
    if isinstance(value, Tensor):
        return from_loop.take_angles(value)
    if isinstance(value, dict):
        return {key: _angles(from_loop, one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_angles(from_loop, one) for one in value)
    return value


def per_column(value: Any, rows: int, width: int) -> bool:
    """True if an argument has one entry for each of `width` columns."""
    return isinstance(value, Tensor) and value.ndim >= 2 and value.shape[0] in (1, rows) and value.shape[1] == width
