"""Forwards that continue a pruned cache without a step.

The cache's layers answer for positions and lengths themselves. All decisions here use values on the host, so that
torch.compile can trace such a forward into one graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.runtime.incoming_masks import check_static, logical_mask
from todre.tensors.slots import SlotTable


def fast_path_call(full: bool, backend: str, call: DecoderCall) -> DecoderCall | None:
    """The decoder's call for text alone; None if it needs a step.

    While torch.compile traces, only calls of one column take this path; a call that brings a picture gains nothing by
    it.

    Args:
        full: True if every layer has full attention, or a state.
        backend: name of the attention backend.
        call: a call without pictures; returned itself if nothing has to change.
    """
    cache, traced = call.cache, torch.compiler.is_compiling()
    table = kv.first_table(cache) if hasattr(cache, "layers") else None
    columns = call.columns
    if traced and columns != 1:
        return None
    if table is None:
        return call
    if not table.open or table.window:
        return None
    if table.alone and table.identity:
        return call
    if not full:
        return None
    mask = call.mask
    if mask is not None and not (isinstance(mask, Tensor) and (mask.ndim == 2 or _ready_made(mask, cache))):
        return None
    if table.alone:
        mask = _mask(table, cache, mask, columns, traced)
    elif columns == 1 and _same_for_all(cache, backend) and (mask is None or (not traced and bool(mask.all()))):
        mask = None
    else:
        return None
    if table.shift is None:
        return call.with_fields(mask=mask)
    return call.with_fields(mask=mask, positions=_positions(call, columns, table.shift))


def mask_for_generate(cache: Any, mask: Tensor | None) -> Tensor | None:
    """The mask, (b, columns), from which `generate` builds static-cache masks.

    Args:
        cache: the caller's cache.
        mask: (b, columns) mask of the caller, or None.
    """
    table = kv.first_table(cache) if hasattr(cache, "layers") else None
    if table is None or not table.open or table.identity or not table.alone or (mask is not None and mask.ndim != 2):
        return mask
    return _mask(table, cache, mask, 0, traced=True)


def _ready_made(mask: Tensor, cache: Any) -> bool:
    """True if a 4-D mask was built for a static cache before the model was called."""
    layer = next(layer for layer in cache.layers if kv.table_of(layer) is not None)
    return mask.ndim == 4 and kv.is_static(layer) and mask.shape[-1] == layer.max_cache_len


def _mask(table: SlotTable, cache: Any, mask: Tensor | None, columns: int, traced: bool) -> Tensor | None:
    """The mask for the model's own code, which makes the layers' masks from it.

    Args:
        table: the slot table that all layers share.
        cache: the caller's cache.
        mask: the caller's mask, or None.
        columns: columns of this forward.
        traced: True while torch.compile traces; no value is read from the device then.

    Returns:
        None if no mask is needed.
    """
    if mask is None and not table.padded:
        return None
    # `generate` has built it from `mask_for_generate` already.
    if mask is not None and mask.ndim == 4:
        if not traced:
            check_static(mask, cache, table, int(cache.get_seq_length()))
        return mask
    layer = next(layer for layer in cache.layers if kv.table_of(layer) is not None)
    if mask is None:
        static = kv.is_static(layer)
        return table.aligned(layer.max_cache_len + layer.dropped if static else layer.logical + columns, None)
    if not traced:
        mask = logical_mask(mask, None, cache, int(cache.get_seq_length()), columns)
        assert mask is not None  # for mypy: a 2-D mask gives a mask
        if not table.padded and bool(mask.all()):
            return None
    return table.aligned(mask.shape[1], mask)


def _same_for_all(cache: Any, backend: str) -> bool:
    """True if one new column needs no mask, though layers hold different columns."""
    # Without a mask, SDPA and flash attention let one query see every key (transformers' integrations, 5.24).
    if backend != "sdpa" and "flash" not in backend:
        return False
    for layer in cache.layers:
        table = kv.table_of(layer)
        if table is not None and (table.padded or table.window or not table.open):
            return False
    return True


def _positions(call: DecoderCall, columns: int, shift: Tensor) -> Tensor:
    """Positions of this forward, (b, q) int64, renumbered like the prompt's."""
    positions = call.positions
    if positions is None:
        positions = (torch.arange(columns, device=shift.device, dtype=torch.int64) + call.cache.get_seq_length())[None]
    renumbered: Tensor = positions - shift[:, None].to(positions.device)
    return renumbered
