"""Visual tokens that leave inside the decoder, and parked ones that come back.

Tokens that leave are removed from the columns in flight and from the caches of later layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.methods.views.reduction import ParkedView
from todre.runtime.slot_tables import shrink_tables
from todre.runtime.step import ParkedState, Step
from todre.tensors.autocast import no_autocast
from todre.tensors.columns import PAD, compact, put_back, take_columns


def rejoin_slots(step: Step, parked: ParkedState, index: int, hidden: Tensor) -> Tensor:
    """The hidden states, (b, q0, d), with parked tokens back in flight.

    Args:
        step: the running forward.
        parked: the columns in flight when tokens were parked, q0 of them.
        index: index (from 0) of the next layer.
        hidden: (b, q, d) hidden states in flight, without the parked tokens.
    """
    width, length, place, before = hidden.shape[1], step.inputs.length, step.own_columns, parked.in_flight
    entered = (before.columns - step.inputs.past).clamp(min=0)
    there = torch.zeros(place.shape[0], length + 1, dtype=torch.bool, device=place.device)
    there.scatter_(1, place.masked_fill(place < 0, length), True)
    present = there.gather(1, entered) & (before.columns >= 0)
    now = take_columns(put_back(hidden, place, length), entered, 1)
    now = now.masked_fill(~present.to(hidden.device)[..., None], 0)
    with no_autocast(hidden.device):
        back = parked.method.rejoin(
            ParkedView(parked.layer, parked.hidden, now, present.to(hidden.device), parked.memo)
        )
    step.in_flight = replace(before, packed=step.in_flight.packed)
    step.answers.parked = None
    step.record(index)
    shrink_tables(step, index, width, None)
    return back.to(hidden.dtype)


def drop_slots(
    step: Step, index: int, drop: Tensor, hidden: Tensor, left: Sequence[int], cached: bool = True
) -> Tensor:
    """The hidden states that are left after visual slots were dropped.

    The cached slots of the layers from `index` on are dropped too.

    Args:
        step: the running forward.
        index: index (from 0) of the next layer.
        drop: (b, s) bool, over the key slots of the layer that ran last.
        hidden: (b, q, d) hidden states in flight.
        left: for each row, the number of visual tokens in flight that stay.
        cached: True if visual slots of earlier forwards leave, too.
    """
    gone, now = _gone_columns(step, index, drop), step.in_flight
    counts = now.counts.with_visual(left)
    staying = (now.columns >= 0) & (now.kinds != PAD) & ~gone.gather(1, now.columns.clamp(min=0))
    packing = compact(staying, counts.total)
    from_loop = packing if now.from_loop is None else now.from_loop.then(packing)
    step.in_flight = replace(now.take(packing, counts), from_loop=from_loop)
    step.record(index)
    shrink_tables(step, index, hidden.shape[1], gone if cached else None)
    return packing.take(hidden)


def _gone_columns(step: Step, index: int, drop: Tensor) -> Tensor:
    """Logical columns that leave, (b, columns + 1) bool.

    The last entry stands for padding and is False.
    """
    inputs = step.inputs
    gone = torch.zeros(drop.shape[0], inputs.past + inputs.length + 1, dtype=torch.bool, device=drop.device)
    table = kv.table_of(inputs.cache.layers[index - 1]) if inputs.cache is not None else None
    columns = step.in_flight.columns if table is None else table.columns
    gone.scatter_(1, columns.masked_fill(~drop, gone.shape[1] - 1), True)
    gone[:, -1] = False
    return gone
