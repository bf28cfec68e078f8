"""Cache layers that know their logical and their physical length; the only file that knows transformers' caches.

A pruned layer answers its *logical* length to `generate()` (how many tokens the conversation has) while it stores
fewer *physical* slots. Which logical column each slot holds is written in a `SlotTable`, shared by all layers that
hold the same columns. Everything a later step needs lives here, on the caller's own cache object.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.compat import Cache, CacheLayerMixin, DynamicLayer, StaticLayer
from todre.errors import UnsupportedInputError
from todre.layout import PAD, SYSTEM, TEXT, VISUAL, Compaction, compact, take_columns


class SlotTable:
    """Which logical column each physical slot holds, for a group of layers.

    Attributes:
        columns: (b, s) int64 logical column of each slot up to `covered`; -1 is padding. Later slots follow one by one.
        kinds: (b, s) int8 classes of layout.py.
        covered: number of logical columns that `columns` accounts for.
        padded: whether some slot may be padding, known on the host.
        identity: whether slots and logical columns are the same thing, so that the model's own masks are right.
        shift: (b,) how much smaller positions are than logical ones, or None when ids are kept.
        incoming: logical columns that the step under way adds to each layer; None between steps.
    """

    def __init__(
        self,
        columns: Tensor,
        kinds: Tensor,
        covered: int,
        padded: bool,
        identity: bool = False,
        shift: Tensor | None = None,
    ) -> None:
        self.columns = columns
        self.kinds = kinds
        self.covered = covered
        self.padded = padded
        self.identity = identity
        self.shift = shift
        self.incoming: int | None = None
        self.leader: object | None = None
        self._crop: tuple[int, Compaction] | None = None

    @classmethod
    def before_pictures(cls, rows: int, length: int, padded: bool, device: torch.device) -> SlotTable:
        """The table of layers that hold `length` columns of text, as they do before the first picture."""
        columns = torch.arange(length, device=device).expand(rows, length)
        kinds = torch.full((rows, length), SYSTEM, dtype=torch.int8, device=device)
        return cls(columns, kinds, covered=length, padded=padded, identity=True)

    @property
    def seen_picture(self) -> Tensor:
        """(b,) bool, rows that hold or held visual tokens."""
        return ((self.kinds == VISUAL) | (self.kinds == TEXT)).any(dim=1)

    def at_length(self, length: int) -> tuple[Tensor, Tensor]:
        """Columns and kinds of all slots once `length` logical columns are held; answers count as text."""
        tail = torch.arange(self.covered, length, device=self.columns.device).expand(self.columns.shape[0], -1)
        kinds = torch.where(self.seen_picture, TEXT, SYSTEM).to(torch.int8)[:, None].expand_as(tail)
        return torch.cat([self.columns, tail], dim=1), torch.cat([self.kinds, kinds], dim=1)

    def valid_slots(self, length: int, attention_mask: Tensor | None) -> Tensor | None:
        """(b, slots) bool at `length` logical columns; None where nothing is padding.

        `attention_mask` is the caller's logical (b, length) mask, or None.
        """
        if attention_mask is None and not self.padded:
            return None
        columns, kinds = self.at_length(length)
        valid = (columns >= 0) & (kinds != PAD)
        if attention_mask is not None:
            valid = valid & take_columns(attention_mask.to(torch.bool), columns.clamp(min=0), dim=1)
        return valid

    def select_rows(self, rows: Tensor) -> None:
        """Reorder or repeat the batch."""
        rows = rows.to(self.columns.device)
        self.columns, self.kinds = self.columns[rows], self.kinds[rows]
        if self.shift is not None:
            self.shift = self.shift[rows]

    def crop(self, length: int) -> Compaction | None:
        """Forget columns from `length` on; the slots that stay, or None when only appended slots go."""
        if self._crop is not None and self._crop[0] == length:
            return self._crop[1]
        if length >= self.covered:
            return None
        kept = compact((self.columns < length) & (self.columns >= 0))
        self.columns = kept.take(self.columns).masked_fill(~kept.valid, -1)
        self.kinds = kept.take(self.kinds).masked_fill(~kept.valid, PAD)
        self.covered, self.padded, self.identity = length, self.padded or kept.padded, False
        self._crop = (length, kept)
        return kept

    def begin(self, incoming: int) -> None:
        """Announce a step that adds `incoming` logical columns."""
        self.incoming = incoming
        self._crop = None

    def end(self) -> None:
        """Close the step."""
        self.incoming = None


def _announced(table: SlotTable) -> int:
    if table.incoming is None:
        raise UnsupportedInputError(
            "This KV cache was pruned, and only todre knows which columns it holds; "
            "continue it inside todre.prune(model, ...) or start with a new cache."
        )
    return table.incoming


class PrunedLayer(DynamicLayer):
    """A growing cache layer with fewer slots than logical columns; without a table it is a plain `DynamicLayer`."""

    keys: Tensor
    values: Tensor

    def __init__(self, table: SlotTable, logical: int) -> None:
        super().__init__()
        self.table: SlotTable | None = table
        self.logical = logical

    @property
    def slots(self) -> int:
        """Number of physical slots."""
        return 0 if not self.is_initialized or self.keys.numel() == 0 else int(self.keys.shape[-2])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append slots; the step's announced logical columns are counted."""
        if self.table is not None:
            self.logical += _announced(self.table)
        return super().update(key_states, value_states, *args, **kwargs)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int:
        """Logical length: what positions and `generate()` go by."""
        return self.logical if self.table is not None else super().get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Physical number of key slots, and the offset that aligns their end with the logical one."""
        if self.table is None:
            return super().get_mask_sizes(query_length)  # type: ignore[no-any-return]
        return self.slots + query_length, self.logical - self.slots

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last logical columns; a positive number is the older releases' absolute length."""
        if self.table is None:
            super().crop(tokens_to_remove)
            return
        length = tokens_to_remove if tokens_to_remove > 0 else self.logical + tokens_to_remove
        if length >= self.logical or not self.is_initialized:
            return
        tail = self.slots - (self.logical - length)
        kept = self.table.crop(length)
        if kept is None:
            self.keys, self.values = self.keys[..., :tail, :], self.values[..., :tail, :]
        else:
            self.keep_slots(kept)
        self.logical = length

    def keep_slots(self, kept: Compaction) -> None:
        """Keep only the given slots of each row."""
        self.keys = kept.take(self.keys, dim=2)
        self.values = kept.take(self.values, dim=2)

    def reset(self) -> None:
        """Become an empty, plain layer again."""
        super().reset()
        self.table, self.logical = None, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the batch; the first layer of a group reorders the shared table."""
        super().reorder_cache(beam_idx)
        self._rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        rows = torch.arange(self.keys.shape[0]).repeat_interleave(repeats)
        super().batch_repeat_interleave(repeats)
        self._rows(rows)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given rows."""
        super().batch_select_indices(indices)
        self._rows(indices)

    def _rows(self, rows: Tensor) -> None:
        if self.table is not None and self.table.leader is self:
            self.table.select_rows(rows)


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
        if self.table is not None:
            self.dropped += _announced(self.table) - key_states.shape[-2]
        return super().update(key_states, value_states, *args, **kwargs)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int | Tensor:
        """Logical length."""
        return super().get_seq_length() + self.dropped  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Become an empty, plain layer again."""
        super().reset()
        self.table, self.dropped = None, 0


def check_cache(cache: Any, n_layers: int) -> None:
    """Raise `UnsupportedInputError` unless `cache` is one whose layers can be shortened."""
    if not isinstance(cache, Cache):
        raise UnsupportedInputError(
            f"A cache of type {type(cache).__name__} cannot be pruned; pass a transformers DynamicCache or StaticCache."
        )
    while cache.layer_class_to_replicate is not None and len(cache.layers) < n_layers:
        cache.layers.append(cache.layer_class_to_replicate())
    for layer in cache.layers:
        if type(layer) not in (DynamicLayer, StaticLayer, PrunedLayer, PrunedStaticLayer):
            raise UnsupportedInputError(
                f"A cache with layers of type {type(layer).__name__} cannot be pruned; "
                "use a DynamicCache or a StaticCache without sliding windows or quantisation."
            )


def table_of(layer: CacheLayerMixin) -> SlotTable | None:
    """The slot table of a pruned layer, or None."""
    return getattr(layer, "table", None)


def is_static(layer: CacheLayerMixin) -> bool:
    """Whether the layer's buffers have a fixed size."""
    return isinstance(layer, StaticLayer)


def slots_of(layer: CacheLayerMixin) -> int | Tensor:
    """Number of filled physical slots."""
    return layer.slots if isinstance(layer, PrunedLayer | PrunedStaticLayer) else layer.get_seq_length()


def distinct_tables(cache: Cache | None) -> list[SlotTable]:
    """The slot tables in use, each once, in layer order."""
    found: dict[int, SlotTable] = {}
    for layer in cache.layers if cache is not None else ():
        table = table_of(layer)
        if table is not None:
            found[id(table)] = table
    return list(found.values())


def install(cache: Cache, layer_idx: int, table: SlotTable) -> None:
    """Give layer `layer_idx` the slot table `table`, converting a plain layer in place in the caller's cache."""
    layer = cache.layers[layer_idx]
    if isinstance(layer, PrunedLayer | PrunedStaticLayer):
        layer.table = table
    elif isinstance(layer, StaticLayer):
        layer = PrunedStaticLayer.adopt(layer, table)
    else:
        pruned = PrunedLayer(table, logical=int(layer.get_seq_length()))
        if layer.is_initialized:
            pruned.lazy_initialization(layer.keys, layer.values)
            pruned.keys, pruned.values = layer.keys, layer.values
        layer = pruned
    if table.leader is None:
        table.leader = layer
    cache.layers[layer_idx] = layer


def seen_picture(cache: Cache | None, rows: int, device: torch.device) -> Tensor:
    """(b,) bool: whether a row's cache holds or held visual tokens."""
    for table in distinct_tables(cache):
        return table.seen_picture
    return torch.zeros(rows, dtype=torch.bool, device=device)


def kv_bytes(cache: Cache | None) -> int:
    """Bytes per row that the cache's tensors hold now, padding and unused static slots included."""
    total = 0
    for layer in cache.layers if cache is not None else ():
        if layer.is_initialized and layer.keys.numel():
            total += (layer.keys.nbytes + layer.values.nbytes) // layer.keys.shape[0]
    return total
