"""Incoming masks, the caller's and the model's: what they hide and allow.

The masks of shortened layers are built in `runtime/layer_masks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.cache import first_table, is_static, table_of
from todre.hf.decoder import FULL
from todre.hf.versions import Cache
from todre.tensors.slots import SlotTable

_QUERIES_AT_ONCE = 128
"""Number of queries for which a FlexAttention block mask is evaluated at once.

It bounds the memory that the evaluation takes.
"""


def logical_mask(mask: Any, outer: Any, cache: Cache | None, past: int, length: int) -> Tensor | None:
    """The logical columns that are not padding, (b, past + length) bool, or None.

    None means that no column is padding.

    Args:
        mask: the mask of the decoder's call.
        outer: the mask of the enclosing model's call, from which it may have built `mask`.
        cache: the caller's cache.
        past: logical columns before this forward.
        length: logical columns of this forward.

    Raises:
        UnsupportedInputError: the caller's mask says more than padding does, so that shortening it would change it.
    """
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return _padding(mask, past, length)
    if mask is None:
        return None
    if isinstance(outer, Tensor) and outer.ndim == 2:
        return _padding(outer, past, length)
    # Without an outer mask, the model built this one itself, and nothing in it is padding.
    if outer is None and isinstance(mask, Tensor | Mapping):
        return None
    if isinstance(outer, Mapping):
        given = [each for each in outer.values() if each is not None]
        if not given:
            return None
        # Without a tensor it holds FlexAttention's block masks, which are refused below.
        outer = next((each for each in given if isinstance(each, Tensor) and each.ndim == 4), given[0])
        if isinstance(outer, Tensor) and outer.ndim == 2:
            return _padding(outer, past, length)
    static = cache is not None and bool(cache.layers) and any(is_static(layer) for layer in cache.layers)
    if not isinstance(outer, Tensor) or outer.ndim != 4 or not static:
        what = (
            f"A {outer.ndim}-D attention mask of shape {tuple(outer.shape)}"
            if isinstance(outer, Tensor)
            else f"An attention mask of type {type(outer).__name__}"
        )
        raise UnsupportedInputError(f"{what} cannot be shortened; pass a 2-D mask of padding, or none.")
    return _padding_of(outer, cache, past, length)


def _padding(mask: Tensor, past: int, length: int) -> Tensor:
    """The logical columns of a 2-D mask, (b, past + length) bool.

    Raises:
        UnsupportedInputError: the mask is shorter than the conversation.
    """
    if mask.shape[1] < past + length:
        raise UnsupportedInputError(
            f"The attention mask covers {mask.shape[1]} tokens, but the cache and the input hold "
            f"{past + length}; pass a mask over the whole conversation, or none."
        )
    return mask[:, : past + length].to(torch.bool)


def _padding_of(mask: Tensor, cache: Cache, past: int, length: int) -> Tensor:
    """The logical padding in a 4-D mask that `generate` built for a static cache."""
    table = first_table(cache)
    slots = past if table is None else past - next(layer.dropped for layer in cache.layers if table_of(layer))
    valid = _valid_slots(mask[..., -length:, :], slots, past)[:, : slots + length]
    if table is None:
        return valid
    logical = valid.new_ones(valid.shape[0], past + length)
    columns = table.at_length(past)[0].to(valid.device)
    logical.scatter_(1, torch.where(columns < 0, past, columns), valid[:, :slots])
    logical[:, past:] = valid[:, slots:]
    return logical


def check_static(mask: Tensor, cache: Cache, table: SlotTable, past: int) -> None:
    """Check that a 4-D mask is the one that `generate` builds for a static cache.

    Args:
        mask: (b or 1, 1, q, s), as wide as the cache's buffers.
        cache: the caller's cache, whose layers hold the columns of `table`.
        table: slot table that says which slots are padding.
        past: logical columns before this forward.

    Raises:
        UnsupportedInputError: `mask` is another mask.
    """
    gap = next(layer.dropped for layer in cache.layers if table_of(layer))
    valid = _valid_slots(mask, past - gap, past)
    real = table.aligned(past, None)[:, gap:].to(valid.device)
    if bool((valid[:, : past - gap] & ~real).any()):
        raise _custom(mask)


def _valid_slots(mask: Tensor, slots: int, past: int) -> Tensor:
    """The slots that the last query sees, (b or 1, s) bool.

    Raises:
        UnsupportedInputError: the queries before it do not see the same slots, as far as causality lets them.
    """
    shown = visible(mask)
    valid = shown[:, -1]
    query = torch.arange(slots, slots + shown.shape[1], device=mask.device, dtype=torch.int64)
    slot = torch.arange(shown.shape[2], device=mask.device, dtype=torch.int64)
    expected = (slot[None, :] <= query[:, None])[None] & valid[:, None]
    if not torch.equal(expected, shown):
        raise _custom(mask)
    return valid


def _custom(mask: Tensor) -> UnsupportedInputError:
    """The error for a custom 4-D mask."""
    return UnsupportedInputError(
        f"A custom 4-D attention mask of shape {tuple(mask.shape)} cannot be shortened; "
        "pass a 2-D mask of padding, or none."
    )


def visible(mask: Tensor) -> Tensor:
    """The key slots that each query sees, (b, q, s) bool, from any 4-D mask."""
    return mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] == 0


def block_masks_of(mask: Any, length: int, valid: Tensor | None = None) -> dict[str, Tensor] | None:
    """Masks of what a model allows beyond causal attention, by type of layer.

    Pictures may attend within themselves (Gemma 3), or a whole prompt may (PaliGemma), and models combine that with
    windows in different ways. The model builds such masks at full length before the decoder runs.

    Args:
        mask: the mask of the decoder's call: a tensor, a mapping from layer types to tensors, or None.
        length: q, columns of this forward.
        valid: (b, q) bool, False at padding; None where nothing is padding.

    Returns:
        By type of layer ("" for all), (b or 1, q, q) bool; None where attention is causal.

    Raises:
        UnsupportedInputError: a block mask of FlexAttention that allows more than causal attention, or a mask that
            hides more than causality, padding and windows do.
    """
    masks = mask if isinstance(mask, Mapping) else {"": mask}
    check_blocks(mask, length)
    local_masks = {
        kind: visible(each)[:, -length:, -length:]
        for kind, each in masks.items()
        if isinstance(each, Tensor) and each.ndim == 4 and each.shape[-1] >= length
    }
    for kind, local in local_masks.items():
        if kind in ("", FULL) and _hides_more(local, valid):
            raise UnsupportedInputError(
                f"The model's own mask, {tuple(local.shape)}, hides columns from later ones for another reason than "
                "padding, which todre does not know how to keep; pass samples in rows of their own."
            )
    return local_masks if any(bool(local.triu(1).any()) for local in local_masks.values()) else None


def check_blocks(mask: Any, length: int) -> None:
    """Check that FlexAttention's block masks allow no more than causal attention.

    A block mask that allows more cannot be taken apart. For `mask` and `length` see `block_masks_of`.

    Raises:
        UnsupportedInputError: a block mask allows more.
    """
    masks = mask.values() if isinstance(mask, Mapping) else (mask,)
    if any(_looks_ahead(each, length) for each in masks if hasattr(each, "mask_mod")):
        raise takes_no_mask("flex_attention", "attention within pictures")


def _hides_more(local: Tensor, valid: Tensor | None) -> bool:
    """True if a mask (b or 1, q, q) hides a real column from a later real one."""
    hidden = ~local & torch.ones_like(local[0]).tril()
    if valid is not None:
        valid = valid.to(local.device)
        hidden = hidden & valid[:, None, :] & valid[:, :, None]
    return bool(hidden.any())


def _looks_ahead(mask: Any, length: int) -> bool:
    """True if a block mask lets one of the last `length` columns see a later one."""
    rows, heads, queries, slots = mask.shape
    device = mask.kv_num_blocks.device
    row, head = (torch.arange(count, device=device, dtype=torch.int64) for count in (rows, heads))
    slot = torch.arange(slots, device=device, dtype=torch.int64)
    for query in torch.arange(max(0, queries - length), queries, device=device, dtype=torch.int64).split(
        _QUERIES_AT_ONCE
    ):
        allowed = mask.mask_mod(
            row[:, None, None, None], head[None, :, None, None], query[None, None, :, None], slot[None, None, None]
        )
        if bool((allowed & (slot[None, :] > (slots - queries + query)[:, None])).any()):
            return True
    return False


def takes_no_mask(backend: str, where: str) -> UnsupportedInputError:
    """The error for an attention backend that takes no mask in some layers."""
    return UnsupportedInputError(
        f"Attention implementation {backend!r} takes no mask over the tokens that are left in a layer with {where}; "
        "load the model with attn_implementation='sdpa'."
    )
