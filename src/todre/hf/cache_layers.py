"""Cache layers that keep fewer physical slots than they have logical columns.

A pruned layer answers its *logical* length to `generate()` (tokens of the conversation) while it stores fewer
*physical* slots. Which logical column each slot holds is written in a `SlotTable`, which all layers that hold the same
columns share. All that a later step needs is on these layers, in the caller's own cache object.

`make_pruned_layer` makes a pruned layer from a plain one; `hf/cache.py` puts it into a cache, and finds and checks
layers there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.versions import DynamicLayer, StaticLayer
from todre.tensors.columns import Compaction
from todre.tensors.slots import SlotTable


def _missing(table: SlotTable, slots: int) -> int:
    """How many of the columns that the running step adds get no slot.

    Args:
        table: the layer's slot table.
        slots: slots that this update appends.

    Raises:
        UnsupportedInputError: the cache is used while no attachment is active.
    """
    if table.incoming is not None:
        return table.incoming - slots
    if not table.open:
        raise UnsupportedInputError(
            "This KV cache was pruned, and only todre knows which columns it holds; "
            "continue it inside todre.prune(model, ...) or start with a new cache."
        )
    return 0


class PrunedLayer(DynamicLayer):
    """A growing cache layer with fewer slots than logical columns.

    Without a table the layer is a plain `DynamicLayer`. While a model decodes, only its keys and values change, so
    nothing has to be counted and torch.compile sees nothing new.

    Attributes:
        keys, values: (b, heads, s, d), the s physical slots.
        table: the slot table, shared by all layers with the same columns; None after `reset`.
        dropped: logical columns that have no slot.
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
        """Append slots, and count announced columns without a slot as dropped."""
        if self.table is not None and (missing := _missing(self.table, key_states.shape[-2])):
            self.dropped += missing
        return super().update(key_states, value_states, *args, **kwargs)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int:
        """Logical length, which positions and `generate()` are computed from."""
        return self.logical if self.table is not None else super().get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of physical key slots, and the offset from slots to logical columns."""
        if self.table is None:
            return super().get_mask_sizes(query_length)  # type: ignore[no-any-return]
        return self.slots + query_length, self.dropped

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last logical columns.

        Args:
            tokens_to_remove: minus the number of columns to remove; a positive number is the length to keep.
        """
        if self.table is None:
            super().crop(tokens_to_remove)
            return
        # Older releases pass an absolute length as a positive number; 5.24's own layers refuse that.
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

    def keep_slots(self, compaction: Compaction) -> None:
        """Keep only some slots of each row; the logical length does not change.

        Args:
            compaction: from all slots to those that stay.
        """
        logical = self.logical
        self.keys = compaction.take(self.keys, dim=2)
        self.values = compaction.take(self.values, dim=2)
        self.dropped = logical - self.slots

    def reset(self) -> None:
        """Become an empty, plain layer again."""
        super().reset()
        self.table, self.dropped = None, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the batch, as beam search does."""
        super().reorder_cache(beam_idx)
        self._rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row of the batch."""
        rows = torch.arange(self.keys.shape[0], dtype=torch.int64, device="cpu").repeat_interleave(repeats)
        super().batch_repeat_interleave(repeats)
        self._rows(rows)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows of the batch."""
        super().batch_select_indices(indices)
        self._rows(indices)

    def _rows(self, rows: Tensor) -> None:
        """Select rows of the shared table; only the first layer that holds it does so."""
        if self.table is not None and self.table.leader is self:
            self.table.select_rows(rows)


class PrunedSlidingLayer(PrunedLayer):
    """A growing cache layer with a window: slots of columns outside it are forgotten."""

    is_sliding = True

    def __init__(self, table: SlotTable, sliding_window: int) -> None:
        super().__init__(table)
        self.sliding_window = sliding_window

    def activate_past_recording(self) -> None:
        """Keep slots that leave the window, since assisted decoding may take tokens back."""
        if self.table is not None:
            # `generate` calls this before assisted decoding (seen in 5.24), which crops after each round.
            self.table.rewinds = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append slots, return all of them, and keep those that later queries can see."""
        # As transformers' sliding layer does (5.24): this step attends to all slots, the cache keeps the window.
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        gone = self.table.expired(self.logical) - self.table.evicted if self.table is not None else 0
        if gone > 0:
            self.keys, self.values = keys[..., gone:, :], values[..., gone:, :]
            self.dropped += gone
        return keys, values

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last logical columns.

        Raises:
            UnsupportedInputError: slots that a shorter conversation would see have been forgotten.
        """
        if self.table is not None and self.table.evicted and tokens_to_remove:
            raise UnsupportedInputError(
                f"A layer with a window of {self.sliding_window} tokens has forgotten what a shorter conversation "
                "would see; decode without an assistant, or use a new cache."
            )
        super().crop(tokens_to_remove)


class PrunedStaticLayer(StaticLayer):
    """A static cache layer with fewer filled slots than logical columns.

    The allocated buffers stay as they were.

    Attributes:
        table: the slot table; None after `reset`.
        dropped: logical columns that have no slot.
    """

    table: SlotTable | None
    dropped: int

    @classmethod
    def adopt(cls, layer: StaticLayer, table: SlotTable) -> PrunedStaticLayer:
        """A pruned layer that takes over the buffers of `layer`."""
        pruned = cls.__new__(cls)
        pruned.__dict__.update(layer.__dict__)
        pruned.table, pruned.dropped = table, 0
        return pruned

    @property
    def slots(self) -> int | Tensor:
        """Number of filled physical slots; a tensor on the buffers' device once filled."""
        return self.cumulative_length if self.is_initialized else 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the next slots, and count announced columns without a slot as dropped."""
        if self.table is not None and (missing := _missing(self.table, key_states.shape[-2])):
            self.dropped += missing
        return super().update(key_states, value_states, *args, **kwargs)  # type: ignore[no-any-return]

    def get_seq_length(self) -> int | Tensor:
        """Logical length; a tensor on the buffers' device once filled."""
        return super().get_seq_length() + self.dropped  # type: ignore[no-any-return]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of physical key slots, and the offset from slots to logical columns."""
        return self.max_cache_len, self.dropped

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last logical columns; the pruned prompt's columns have to stay.

        Args:
            tokens_to_remove: minus the number of columns to remove.

        Raises:
            UnsupportedInputError: a positive number, or one that reaches into the pruned prompt.
        """
        # `generate` crops static layers in assisted decoding since 5.24; a positive number is refused there too.
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
        # In place, as in transformers (5.24): compiled graphs keep the address of this tensor.
        self.cumulative_length.sub_(-tokens_to_remove)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the batch, as beam search does."""
        super().reorder_cache(beam_idx)
        if self.table is not None and self.table.leader is self:
            self.table.select_rows(beam_idx)

    def reset(self) -> None:
        """Become an empty, plain layer again."""
        super().reset()
        self.table, self.dropped = None, 0


def make_pruned_layer(layer: Any, table: SlotTable, window: int) -> PrunedLayer | PrunedStaticLayer:
    """A pruned layer with the keys and values of a plain one.

    Args:
        layer: a plain dynamic, sliding or static cache layer.
        table: the new layer's slot table.
        window: columns in the layer's window; 0 without one.
    """
    if isinstance(layer, StaticLayer):
        return PrunedStaticLayer.adopt(layer, table)
    logical = int(layer.get_seq_length())
    pruned = PrunedSlidingLayer(table, window) if window else PrunedLayer(table)
    if layer.is_initialized:
        pruned.lazy_initialization(layer.keys, layer.values)
        pruned.keys, pruned.values = layer.keys, layer.values
    pruned.dropped = logical - pruned.slots
    return pruned
