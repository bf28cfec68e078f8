"""Drop visual slots in the middle of the decoder: in flight, and in what the layers to come have cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from todre import cache as kv
from todre.cache import SlotTable
from todre.compat import causal_mask
from todre.errors import UnsupportedInputError
from todre.layout import PAD, Compaction, compact

if TYPE_CHECKING:
    from todre.step import Step


def drop_slots(step: Step, index: int, drop: Tensor, hidden: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Hide `drop` from layer `index` on; returns the hidden states that are left.

    The decoder's loop hands the same mask and angles to every layer, so each later layer gets its own.

    Args:
        step: the forward under way.
        index: the next layer to run, 0-based.
        drop: (b, s) bool over the key slots of the layer that ran last.
        hidden: (b, q, d) hidden states in flight.
        angles: rotary cosines and sines, (b or 1, q, d) each, as the loop hands them on.
    """
    gone = _gone_columns(step, index, drop)
    width = hidden.shape[1]
    packed = compact((step.columns >= 0) & (step.kinds != PAD) & ~gone.gather(1, step.columns.clamp(min=0)))
    earlier = step.overrides.get(index, {})
    cosines, sines = earlier.get("position_embeddings", angles)
    step.pack(packed)
    step.trace.append((index, step.columns, step.kinds))
    hidden = packed.take(hidden)
    shared = {
        "position_embeddings": (packed.take(cosines), packed.take(sines)),
        "position_ids": torch.arange(step.past, step.past + hidden.shape[1], device=hidden.device)[None],
    }
    tables = _shrink_tables(step, index, width, packed, gone)
    masks: dict[int, Any] = {}
    for layer in range(index, step.n_layers):
        key = id(tables.get(layer))
        if key not in masks:
            masks[key] = _mask(step, layer, packed, hidden)
        step.overrides[layer] = shared | {"attention_mask": masks[key]}
    return hidden


def _gone_columns(step: Step, index: int, drop: Tensor) -> Tensor:
    """(b, columns + 1) bool by logical column; the last entry stands for padding and is False."""
    gone = torch.zeros(drop.shape[0], step.past + step.length + 1, dtype=torch.bool, device=drop.device)
    table = kv.table_of(step.cache.layers[index - 1]) if step.cache is not None else None
    columns = step.columns if table is None else table.columns
    gone.scatter_(1, columns.masked_fill(~drop, gone.shape[1] - 1), True)
    gone[:, -1] = False
    return gone


def _mask(step: Step, layer: int, packed: Compaction, hidden: Tensor) -> Any:
    if step.cache is None:
        return causal_mask(step.config, hidden, packed.valid if packed.padded else None, slots=0)
    held = step.cache.layers[layer]
    table = kv.table_of(held)
    if table is None:
        raise UnsupportedInputError(f"The cache of layer {layer} was replaced during the forward; use a new cache.")
    return step.mask_for(held, table, hidden)


def _shrink_tables(step: Step, index: int, width: int, packed: Compaction, gone: Tensor) -> dict[int, SlotTable]:
    """Shorten the tables of layers from `index` on, and what those layers cached in earlier forwards."""
    tables: dict[int, SlotTable] = {}
    if step.cache is None:
        return tables
    new: dict[int, tuple[SlotTable, Compaction | None]] = {}
    for layer in range(index, step.n_layers):
        old = kv.table_of(step.cache.layers[layer])
        if old is None:
            continue
        if id(old) not in new:
            new[id(old)] = _shrunk(step, old, width, packed, gone)
        tables[layer], cached = new[id(old)]
        kv.install(step.cache, layer, tables[layer])
        if cached is not None:
            step.cache.layers[layer].keep_slots(cached)
    return tables


def _shrunk(
    step: Step, old: SlotTable, width: int, packed: Compaction, gone: Tensor
) -> tuple[SlotTable, Compaction | None]:
    """The table without the columns that are gone, and which cached slots stay if some go."""
    cached = old.columns.shape[1] - width
    columns, kinds = old.columns[:, :cached], old.kinds[:, :cached]
    padded, kept = old.padded and cached > 0, None
    leaving = (columns >= 0) & gone.gather(1, columns.clamp(min=0))
    if bool(leaving.any()):
        kept = compact((columns >= 0) & ~leaving)
        columns = kept.take(columns).masked_fill(~kept.valid, -1)
        kinds = kept.take(kinds).masked_fill(~kept.valid, PAD)
        padded = padded or kept.padded
    table = SlotTable(
        torch.cat([columns, step.columns], dim=1),
        torch.cat([kinds, step.kinds], dim=1),
        covered=old.covered,
        padded=padded or packed.padded,
        shift=old.shift,
    )
    table.begin(step.length)
    return table, kept
