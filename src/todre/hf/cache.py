"""Cache layers that know their logical and their physical length; the only file that knows transformers' caches.

A pruned layer answers its *logical* length to `generate()` (how many tokens the conversation has) while it stores
fewer *physical* slots. Which logical column each slot holds is written in a `SlotTable`, shared by all layers that
hold the same columns. Everything a later step needs lives here, on the caller's own cache object.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.cache_layers import PrunedLayer, PrunedSlidingLayer, PrunedStaticLayer
from todre.hf.versions import (
    Cache,
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    StaticLayer,
)
from todre.tensors.slots import AttachmentState, SlotTable

_SHORTENED = (DynamicLayer, DynamicSlidingWindowLayer, StaticLayer, PrunedLayer, PrunedSlidingLayer, PrunedStaticLayer)


def check_cache(cache: Any, windows: tuple[bool, ...]) -> None:
    """Raise `UnsupportedInputError` unless `cache` is one whose layers can be shortened.

    `windows` says of each decoder layer whether it sees a window only, so that its cache may forget.
    """
    if not isinstance(cache, Cache):
        raise UnsupportedInputError(
            f"A cache of type {type(cache).__name__} cannot be pruned; pass a transformers DynamicCache or StaticCache."
        )
    while cache.layer_class_to_replicate is not None and len(cache.layers) < len(windows):
        cache.layers.append(cache.layer_class_to_replicate())
    for layer, window in zip(cache.layers, windows, strict=False):
        known = type(layer) in _SHORTENED or type(layer) is LinearAttentionLayer
        if not known or (window_of(layer) and not window):
            raise UnsupportedInputError(
                f"A cache with layers of type {type(layer).__name__} cannot be pruned; "
                "use a DynamicCache, or a StaticCache without sliding windows, and no quantisation."
            )


def holds_slots(layer: CacheLayerMixin) -> bool:
    """Whether the layer holds a slot for each token, rather than a state that all tokens share."""
    return type(layer) in _SHORTENED


def window_of(layer: CacheLayerMixin) -> int:
    """Columns that a layer holds at most, the next query's own included; 0 if it forgets none."""
    return int(layer.sliding_window) if getattr(layer, "is_sliding", False) else 0


def window_columns(layer: CacheLayerMixin) -> int | None:
    """How many of its last columns a layer that forgets still holds; None for one that does not."""
    if not isinstance(layer, DynamicSlidingWindowLayer):
        return None
    return int(layer.keys.shape[-2]) if layer.is_initialized and layer.keys.numel() else 0


def table_of(layer: CacheLayerMixin) -> SlotTable | None:
    """The slot table of a pruned layer, or None."""
    return getattr(layer, "table", None)


def is_static(layer: CacheLayerMixin) -> bool:
    """Whether the layer's buffers have a fixed size."""
    return isinstance(layer, StaticLayer)


def slots_of(layer: CacheLayerMixin) -> int | Tensor:
    """Number of filled physical slots."""
    return layer.slots if isinstance(layer, PrunedLayer | PrunedStaticLayer) else layer.get_seq_length()


def first_mismatch(cache: Cache) -> str | None:
    """Which layer holds something else than its table says after a forward, in words; None if none does.

    A static layer's number of filled slots may be on a device; what it counted as dropped is on the host.
    """
    last, held, dropped = None, 0, 0
    for index, layer in enumerate(cache.layers):
        table = getattr(layer, "table", None)
        if table is None:
            continue
        if table is not last:
            width = table.columns.shape[1]
            last, held, dropped = table, width - table.evicted, table.covered - width
        if isinstance(layer, PrunedStaticLayer):
            if layer.dropped != dropped:
                return f"layer {index + 1} counts {layer.dropped} slots as dropped, and its table says {dropped}"
        elif layer.slots != held:
            return f"layer {index + 1} holds {layer.slots} slots, and its table says {held}"
    return None


def distinct_tables(cache: Cache | None) -> list[SlotTable]:
    """The slot tables in use, each once, in layer order."""
    found: dict[int, SlotTable] = {}
    for layer in cache.layers if cache is not None else ():
        table = table_of(layer)
        if table is not None:
            found[id(table)] = table
    return list(found.values())


def first_table(cache: Cache | None) -> SlotTable | None:
    """The slot table of the first layer that has one, or None where nothing was pruned."""
    for layer in cache.layers if cache is not None else ():
        table = table_of(layer)
        if table is not None:
            return table
    return None


def set_owner(cache: Cache | None, owner: AttachmentState) -> None:
    """Let the layers go on under `owner`, and tell each table whether it is the only one."""
    tables = distinct_tables(cache)
    for table in tables:
        table.owner, table.alone = owner, len(tables) == 1


def install(cache: Cache, layer_idx: int, table: SlotTable) -> None:
    """Give layer `layer_idx` the slot table `table`, converting a plain layer in place in the caller's cache."""
    layer = cache.layers[layer_idx]
    if isinstance(layer, PrunedLayer | PrunedStaticLayer):
        layer.table = table
    elif isinstance(layer, StaticLayer):
        layer = PrunedStaticLayer.adopt(layer, table)
    else:
        logical = int(layer.get_seq_length())
        window = window_of(layer)
        pruned = PrunedSlidingLayer(table, window) if window else PrunedLayer(table)
        if layer.is_initialized:
            pruned.lazy_initialization(layer.keys, layer.values)
            pruned.keys, pruned.values = layer.keys, layer.values
        pruned.dropped = logical - pruned.slots
        layer = pruned
    if table.leader is None:
        table.leader = layer
    cache.layers[layer_idx] = layer


def seen_picture(cache: Cache | None, rows: int, device: torch.device) -> Tensor:
    """(b,) bool: whether a row's cache holds or held visual tokens."""
    for table in distinct_tables(cache):
        return table.had_picture
    return torch.zeros(rows, dtype=torch.bool, device=device)


def has_keys(layer: Any) -> bool:
    """True if a cache layer holds keys and values of some column."""
    return holds_slots(layer) and bool(layer.is_initialized) and bool(layer.keys.numel())


def kv_bytes(cache: Cache | None) -> int:
    """Bytes per row that the cache's tensors hold now, padding and unused static slots included."""
    total = 0
    for layer in cache.layers if cache is not None else ():
        if has_keys(layer):
            total += (layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[0]
    return total
