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
from todre.hf.versions import (
    Cache,
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    StaticLayer,
)
from todre.tensors.columns import Compaction
from todre.tensors.slots import AttachmentState, SlotTable


def _missing(table: SlotTable, slots: int) -> int:
    """How many columns more than `slots` the step under way adds."""
    if table.incoming is not None:
        return table.incoming - slots
    if not table.open:
        raise UnsupportedInputError(
            "This KV cache was pruned, and only todre knows which columns it holds; "
            "continue it inside todre.prune(model, ...) or start with a new cache."
        )
    return 0


class PrunedLayer(DynamicLayer):
    """A growing cache layer with fewer slots than logical columns; without a table it is a plain `DynamicLayer`.

    While a model decodes, only its keys and values change: nothing has to be counted, and a graph sees nothing new.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, table: SlotTable) -> None:
        super().__init__()
        self.table: SlotTable | None = table
        self.dropped = 0

    @property
    def slots(self) -> int:
        """Number of physical slots."""
        return 0 if not self.is_initialized or self.keys.numel() == 0 else int(self.keys.shape[-2])

    @property
    def logical(self) -> int:
        """Number of logical columns."""
        return self.slots + self.dropped

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append slots; those that the step's announced logical columns have more are counted as dropped."""
        if self.table is not None and (missing := _missing(self.table, key_states.shape[-2])):
            self.dropped += missing
        return super().update(key_states, value_states, *args, **kwargs)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int:
        """Logical length: what positions and `generate()` go by."""
        return self.logical if self.table is not None else super().get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Physical number of key slots, and the offset that aligns their end with the logical one."""
        if self.table is None:
            return super().get_mask_sizes(query_length)  # type: ignore[no-any-return]
        return self.slots + query_length, self.dropped

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last logical columns; a positive number is the older releases' absolute length."""
        if self.table is None:
            super().crop(tokens_to_remove)
            return
        length = tokens_to_remove if tokens_to_remove > 0 else self.logical + tokens_to_remove
        if length >= self.logical or not self.is_initialized:
            return
        tail = self.slots - (self.logical - length)
        kept = self.table.crop(length, first=self.table.leader is self)
        if kept is None:
            self.keys, self.values = self.keys[..., :tail, :], self.values[..., :tail, :]
        else:
            self.keep_slots(kept)
        self.dropped = length - self.slots

    def keep_slots(self, kept: Compaction) -> None:
        """Keep only the given slots of each row; as many logical columns as before."""
        logical = self.logical
        self.keys = kept.take(self.keys, dim=2)
        self.values = kept.take(self.values, dim=2)
        self.dropped = logical - self.slots

    def reset(self) -> None:
        """Become an empty, plain layer again."""
        super().reset()
        self.table, self.dropped = None, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the batch; the first layer of a group reorders the shared table."""
        super().reorder_cache(beam_idx)
        self._rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        rows = torch.arange(self.keys.shape[0], dtype=torch.int64, device="cpu").repeat_interleave(repeats)
        super().batch_repeat_interleave(repeats)
        self._rows(rows)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given rows."""
        super().batch_select_indices(indices)
        self._rows(indices)

    def _rows(self, rows: Tensor) -> None:
        if self.table is not None and self.table.leader is self:
            self.table.select_rows(rows)


class PrunedSlidingLayer(PrunedLayer):
    """A growing layer that forgets slots whose logical column went out of its window."""

    is_sliding = True

    def __init__(self, table: SlotTable, sliding_window: int) -> None:
        super().__init__(table)
        self.sliding_window = sliding_window

    def activate_past_recording(self) -> None:
        """Assisted decoding may take tokens back: keep what goes out of sight."""
        if self.table is not None:
            self.table.rewinds = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append slots, hand all of them out once, and keep those that later queries can see."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        gone = self.table.expired(self.logical) - self.table.evicted if self.table is not None else 0
        if gone > 0:
            self.keys, self.values = keys[..., gone:, :], values[..., gone:, :]
            self.dropped += gone
        return keys, values

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last columns, as long as nothing that a shorter past would see has been forgotten."""
        if self.table is not None and self.table.evicted and tokens_to_remove:
            raise UnsupportedInputError(
                f"A layer with a window of {self.sliding_window} tokens has forgotten what a shorter conversation "
                "would see; decode without an assistant, or use a new cache."
            )
        super().crop(tokens_to_remove)


class PrunedStaticLayer(StaticLayer):
    """A static cache layer that received fewer tokens than logical columns; allocated memory stays as it was."""

    table: SlotTable | None
    dropped: int

    @classmethod
    def adopt(cls, layer: StaticLayer, table: SlotTable) -> PrunedStaticLayer:
        """Take over the buffers of `layer`."""
        pruned = cls.__new__(cls)
        pruned.__dict__.update(layer.__dict__)
        pruned.table, pruned.dropped = table, 0
        return pruned

    @property
    def slots(self) -> int | Tensor:
        """Number of filled physical slots."""
        return self.cumulative_length if self.is_initialized else 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the next slots."""
        if self.table is not None and (missing := _missing(self.table, key_states.shape[-2])):
            self.dropped += missing
        return super().update(key_states, value_states, *args, **kwargs)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int | Tensor:
        """Logical length."""
        return super().get_seq_length() + self.dropped  # type: ignore[no-any-return]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Physical number of key slots, and the logical column that the first of them would be if none were padding."""
        return self.max_cache_len, self.dropped

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last logical columns, by a negative number of them; those of the pruned prompt have to stay.

        transformers crops static layers since 5.24, in assisted decoding.
        """
        if tokens_to_remove > 0:
            raise UnsupportedInputError(
                f"A static cache is cropped by a negative number of tokens, not to a length of {tokens_to_remove}."
            )
        if self.table is not None and tokens_to_remove:
            length = int(self.get_seq_length()) + tokens_to_remove
            if length < self.table.covered:
                raise UnsupportedInputError(
                    f"A pruned static cache of {self.table.covered} prompt tokens cannot be cropped to {length}; "
                    "crop what was generated, or use a dynamic cache."
                )
        self.cumulative_length.sub_(-tokens_to_remove)

    def reset(self) -> None:
        """Become an empty, plain layer again."""
        super().reset()
        self.table, self.dropped = None, 0


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


def held(layer: CacheLayerMixin) -> int | None:
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


def first_unlike(cache: Cache) -> str | None:
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


def filled(layer: Any) -> bool:
    """True if a cache layer holds keys and values of some column."""
    return holds_slots(layer) and bool(layer.is_initialized) and bool(layer.keys.numel())


def kv_bytes(cache: Cache | None) -> int:
    """Bytes per row that the cache's tensors hold now, padding and unused static slots included."""
    total = 0
    for layer in cache.layers if cache is not None else ():
        if filled(layer):
            total += (layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[0]
    return total
