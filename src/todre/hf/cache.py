"""The KV cache of one model call: check it, convert its layers, read its tables.

`install` puts the layers of `hf/cache_layers.py` into a cache, in place of plain ones. `runtime/packing.py` and
`evaluate` make plain caches by transformers' own classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.cache_layers import PrunedLayer, PrunedSlidingLayer, PrunedStaticLayer, make_pruned_layer
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
"""Layer types that can hold fewer slots than columns."""


def check_cache(cache: Any, windows: tuple[bool, ...]) -> None:
    """Check that the layers of `cache` can be shortened.

    Args:
        cache: the caller's cache; its layers are created if it makes them lazily.
        windows: for each decoder layer, True if it sees only a window, so that its cache layer may forget tokens.

    Raises:
        UnsupportedInputError: the cache, or a layer in it, is of another type.
    """
    if not isinstance(cache, Cache):
        raise UnsupportedInputError(
            f"A cache of type {type(cache).__name__} cannot be pruned; pass a transformers DynamicCache or StaticCache."
        )
    # A cache made without a config creates its layers one by one in `update` (seen in 5.24); they are needed now.
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
    """True if a layer holds a slot per token, not one state for all tokens."""
    return type(layer) in _SHORTENED


def window_of(layer: CacheLayerMixin) -> int:
    """Columns in a layer's window, the next query's included; 0 without a window."""
    return int(layer.sliding_window) if getattr(layer, "is_sliding", False) else 0


def window_columns(layer: CacheLayerMixin) -> int | None:
    """Number of last columns that a sliding layer holds; None without a window."""
    if not isinstance(layer, DynamicSlidingWindowLayer):
        return None
    return int(layer.keys.shape[-2]) if layer.is_initialized and layer.keys.numel() else 0


def table_of(layer: CacheLayerMixin) -> SlotTable | None:
    """The slot table of a pruned layer, or None."""
    return getattr(layer, "table", None)


def is_static(layer: CacheLayerMixin) -> bool:
    """True if the layer's buffers have a fixed size."""
    return isinstance(layer, StaticLayer)


def slots_of(layer: CacheLayerMixin) -> int | Tensor:
    """Number of filled physical slots of any cache layer."""
    return layer.slots if isinstance(layer, PrunedLayer | PrunedStaticLayer) else layer.get_seq_length()


def first_mismatch(cache: Cache) -> str | None:
    """A sentence on the first layer whose slots do not fit its table, or None.

    Only values on the host are compared. A static layer's filled slots are counted on its device, so its dropped
    columns are compared instead.
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
    """The slot tables in a cache, each once, in layer order."""
    found: dict[int, SlotTable] = {}
    for layer in cache.layers if cache is not None else ():
        table = table_of(layer)
        if table is not None:
            found[id(table)] = table
    return list(found.values())


def first_table(cache: Cache | None) -> SlotTable | None:
    """The slot table of the first layer that has one, or None."""
    for layer in cache.layers if cache is not None else ():
        table = table_of(layer)
        if table is not None:
            return table
    return None


def set_owner(cache: Cache | None, owner: AttachmentState) -> None:
    """Hand the slot tables of `cache` to `owner`, and count them.

    A table is `alone` if all layers with slots share it.
    """
    tables = distinct_tables(cache)
    for table in tables:
        table.owner, table.alone = owner, len(tables) == 1


def install(cache: Cache, layer_idx: int, table: SlotTable) -> None:
    """Give one cache layer the slot table `table`.

    A plain layer is replaced by a pruned one with the same keys and values, in the caller's cache object.

    Args:
        cache: the caller's cache.
        layer_idx: index of the layer, from 0.
        table: the new table.
    """
    layer = cache.layers[layer_idx]
    if isinstance(layer, PrunedLayer | PrunedStaticLayer):
        layer.table = table
    else:
        layer = make_pruned_layer(layer, table, window_of(layer))
    if table.leader is None:
        table.leader = layer
    cache.layers[layer_idx] = layer


def has_keys(layer: Any) -> bool:
    """True if a cache layer holds keys and values of some column."""
    return holds_slots(layer) and bool(layer.is_initialized) and bool(layer.keys.numel())


def kv_bytes(cache: Cache | None) -> int:
    """Bytes per row in a cache's tensors, padding and unused static slots included."""
    total = 0
    for layer in cache.layers if cache is not None else ():
        if has_keys(layer):
            total += (layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[0]
    return total
