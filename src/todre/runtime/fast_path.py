"""Forwards that go on from a pruned cache without help: its layers answer for positions and lengths themselves.

Everything here is decided by what the host knows anyway, so that torch.compile can follow it into one graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.runtime.masks import check_static, logical_mask
from todre.tensors.slots import SlotTable


def fast_path_call(full: bool, backend: str, call: DecoderCall) -> DecoderCall | None:
    """What a decoder is called with for text alone; None if a step must see to its layers one by one.

    In a graph this is for one column alone: one that brings a picture has nothing to lose.

    Args:
        full: whether every layer has full attention, or a state.
        backend: name of the attention implementation.
        call: what it is called with, and no facts about pictures; it comes back itself if nothing has to change.
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
    """The mask that `generate` lays out for a static cache before it calls the model, (b, columns) or None."""
    table = kv.first_table(cache) if hasattr(cache, "layers") else None
    if table is None or not table.open or table.identity or not table.alone or (mask is not None and mask.ndim != 2):
        return mask
    return _mask(table, cache, mask, 0, traced=True)


def _ready_made(mask: Tensor, cache: Any) -> bool:
    """Whether a mask is one that was laid out for a static cache, before the model was called."""
    layer = next(layer for layer in cache.layers if kv.table_of(layer) is not None)
    return mask.ndim == 4 and kv.is_static(layer) and mask.shape[-1] == layer.max_cache_len


def _mask(table: SlotTable, cache: Any, mask: Tensor | None, columns: int, traced: bool) -> Tensor | None:
    """A mask from which the model's own code makes the right one, if all layers hold the columns of `table`."""
    if mask is None and not table.padded:
        return None
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
        assert mask is not None
        if not table.padded and bool(mask.all()):
            return None
    return table.aligned(mask.shape[1], mask)


def _same_for_all(cache: Any, backend: str) -> bool:
    """Whether layers that hold different columns are right without any mask, for one column more."""
    if backend != "sdpa" and "flash" not in backend:
        return False
    for layer in cache.layers:
        table = kv.table_of(layer)
        if table is not None and (table.padded or table.window or not table.open):
            return False
    return True


def _positions(call: DecoderCall, columns: int, shift: Tensor) -> Tensor:
    """(b, q) positions, renumbered as the prompt was."""
    positions = call.positions
    if positions is None:
        positions = (torch.arange(columns, device=shift.device, dtype=torch.int64) + call.cache.get_seq_length())[None]
    renumbered: Tensor = positions - shift[:, None].to(positions.device)
    return renumbered
