"""The cache's slot tables in one forward: extended first, shortened by drops."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.runtime.step import Step
from todre.tensors.columns import PAD, VISUAL, Compaction, compact
from todre.tensors.slots import SlotTable
from todre.tensors.transfer import fetch


def extend_tables(
    step: Step, packing: Compaction | None, shifts: Tensor | None, cached_visual: Mapping[int, list[int]]
) -> None:
    """Write this forward's columns into the slot table of every layer.

    Args:
        step: the forward.
        packing: from the columns that came in to those that are kept; None if all are.
        shifts: (b, past + length) how much smaller positions are than logical columns after each column, or None.
        cached_visual: by id of slot table, visual slots that each row holds.
    """
    cache, new = step.inputs.cache, dict[tuple[int, int], SlotTable]()
    if cache is None:
        return
    for index, layer in enumerate(cache.layers):
        if not kv.holds_slots(layer):
            continue
        old, window = kv.table_of(layer), kv.window_of(layer)
        key = id(old), window
        if key not in new:
            base = old or _before_pictures(step, kv.window_columns(layer))
            new[key] = _extend(step, base, packing, shifts, window)
            rows = step.in_flight.columns.shape[0]
            new[key].earlier = [0] * rows if old is None else cached_visual.get(id(old)) or _count_visual(old)
            new[key].begin(step.inputs.length)
        kv.install(cache, index, new[key])


def _before_pictures(step: Step, columns: int | None) -> SlotTable:
    """The slot table of a cache layer before any picture reaches it.

    Args:
        step: the forward.
        columns: number of last columns that the layer still holds; None if it holds all.
    """
    now, inputs = step.in_flight, step.inputs
    return SlotTable.before_pictures(
        now.columns.shape[0], inputs.past, inputs.mask is not None, now.columns.device, columns
    )


def _extend(step: Step, base: SlotTable, packing: Compaction | None, shifts: Tensor | None, window: int) -> SlotTable:
    """The table `base` followed by the columns in flight."""
    columns, kinds = base.at_length(step.inputs.past)
    return SlotTable(
        torch.cat([columns, step.in_flight.columns], dim=1),
        torch.cat([kinds, step.in_flight.kinds], dim=1),
        covered=step.inputs.past + step.inputs.length,
        padded=base.padded or (packing.padded if packing is not None else step.inputs.mask is not None),
        identity=base.identity and packing is None,
        shifts=shifts,
        window=window,
    )


def _count_visual(table: SlotTable) -> list[int]:
    """Number of visual slots in each row of a table, read from the device."""
    return list(fetch([table.visual_count])[0].tolist())


def shrink_tables(step: Step, index: int, width: int, gone: Tensor | None) -> None:
    """Shorten the tables and cached slots of layers from index `index` (from 0) on.

    Args:
        step: the forward, whose columns in flight are already shortened.
        index: index of the next layer.
        width: number of columns in flight before they were shortened.
        gone: (b, columns + 1) bool, logical columns that leave; None if no column of an earlier forward leaves.
    """
    cache = step.inputs.cache
    if cache is None:
        return
    new: dict[int, tuple[SlotTable, Compaction | None]] = {}
    for layer in range(index, step.n_layers):
        old = kv.table_of(cache.layers[layer])
        if old is None:
            continue
        if id(old) not in new:
            new[id(old)] = _shrink(step, old, width, gone)
        table, kept = new[id(old)]
        kv.install(cache, layer, table)
        if kept is not None:
            cache.layers[layer].keep_slots(kept)


def _shrink(step: Step, old: SlotTable, width: int, gone: Tensor | None) -> tuple[SlotTable, Compaction | None]:
    """The table without the columns that leave, and the cached slots that stay.

    The slots are None if all stay.
    """
    cached = old.columns.shape[1] - width
    columns, kinds = old.columns[:, :cached], old.kinds[:, :cached]
    padded, earlier, kept = old.padded and cached > 0, old.earlier, None
    if gone is not None and cached:
        staying = (columns >= 0) & ~gone.gather(1, columns.clamp(min=0))
        counts, visual = fetch([staying.sum(dim=1), (staying & (kinds == VISUAL)).sum(dim=1)])
        kept, earlier = compact(staying, counts.tolist()), visual.tolist()
        columns = kept.take(columns).masked_fill(~kept.valid, -1)
        kinds = kept.take(kinds).masked_fill(~kept.valid, PAD)
        padded = padded or kept.padded
    table = SlotTable(
        torch.cat([columns, step.in_flight.columns], dim=1),
        torch.cat([kinds, step.in_flight.kinds], dim=1),
        covered=old.covered,
        padded=padded or step.in_flight.padded,
        shifts=old.shifts,
        window=old.window,
    )
    table.earlier = earlier
    table.begin(step.inputs.length)
    return table, kept
