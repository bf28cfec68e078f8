"""x"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.versions import DynamicLayer, StaticLayer
from todre.tensors.columns import Compaction
from todre.tensors.slots import SlotTable


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
