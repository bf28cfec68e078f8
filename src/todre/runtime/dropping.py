"""Drop visual slots in the middle of the decoder: in flight, and in what later layers have cached; bring them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.methods.views.decoder_layer import ParkedView
from todre.tensors.autocast import no_autocast
from todre.tensors.columns import PAD, VISUAL, Compaction, compact, put_back, take_columns
from todre.tensors.row_counts import RowCounts
from todre.tensors.slots import SlotTable
from todre.tensors.transfer import fetch

if TYPE_CHECKING:
    from todre.runtime.step import Step


class Stage(NamedTuple):
    """What is in flight from a count of layers run on.

    Attributes:
        layers: count of layers run.
        columns, kinds: (b, q), see `Step`.
        visual: of each row, its visual tokens.
    """

    layers: int
    columns: Tensor
    kinds: Tensor
    visual: Sequence[int]


@dataclass(frozen=True)
class ParkedState:
    """What was in flight when tokens were parked.

    Attributes:
        layer: count of layers run then.
        hidden: (b, q0, d) hidden states.
        columns, kinds, flight, inner, padded: the step's, see there.
        memo: what the method wants to know again.
    """

    layer: int
    hidden: Tensor
    columns: Tensor
    kinds: Tensor
    flight: RowCounts
    inner: Compaction | None
    padded: bool
    memo: Any

    @classmethod
    def of(cls, step: Step, layer: int, hidden: Tensor, memo: Any) -> ParkedState:
        """What is in flight now."""
        return cls(layer, hidden, step.columns, step.kinds, step.flight, step.inner, step.padded, memo)


def rejoin_slots(step: Step, index: int, hidden: Tensor) -> Tensor:
    """Bring parked tokens back before layer `index` (0-based); returns the hidden states of all, (b, q0, d)."""
    kept, width = step.parked, hidden.shape[1]
    assert kept is not None
    length = step.length
    place = torch.where(step.columns >= 0, step.columns - step.past, -1)
    wanted = (kept.columns - step.past).clamp(min=0)
    there = torch.zeros(place.shape[0], length + 1, dtype=torch.bool, device=place.device)
    there.scatter_(1, place.masked_fill(place < 0, length), True)
    present = there.gather(1, wanted) & (kept.columns >= 0)
    now = take_columns(put_back(hidden, place, length), wanted, 1).masked_fill(~present.to(hidden.device)[..., None], 0)
    (method,) = (each for each in step.plan.reducers[kept.layer] if each.rejoin_before(step.n_layers))
    with no_autocast(hidden.device):
        back = method.rejoin(ParkedView(kept.layer, kept.hidden, now, present.to(hidden.device), kept.memo))
    step.columns, step.kinds, step.inner, step.padded = kept.columns, kept.kinds, kept.inner, kept.padded
    step.parked, step.flight = None, kept.flight
    step.trace.append(Stage(index, step.columns, step.kinds, step.flight.visual))
    nothing = torch.zeros(place.shape[0], step.past + length + 1, dtype=torch.bool, device=place.device)
    _shrink_tables(step, index, width, nothing, cached=False)
    return back.to(hidden.dtype)


def drop_slots(
    step: Step, index: int, drop: Tensor, hidden: Tensor, left: Sequence[int], cached: bool = True
) -> Tensor:
    """Hide `drop` from layer `index` on; returns the hidden states that are left.

    Args:
        step: the forward under way.
        index: the next layer to run, 0-based.
        drop: (b, s) bool over the key slots of the layer that ran last.
        hidden: (b, q, d) hidden states in flight.
        left: of each row, how many visual tokens in flight stay.
        cached: whether visual slots of earlier forwards leave, too.
    """
    gone = _gone_columns(step, index, drop)
    width = hidden.shape[1]
    step.flight = step.flight.with_visual(left)
    staying = (step.columns >= 0) & (step.kinds != PAD) & ~gone.gather(1, step.columns.clamp(min=0))
    packed = compact(staying, step.flight.total)
    step.pack(packed)
    step.inner = packed if step.inner is None else step.inner.then(packed)
    step.trace.append(Stage(index, step.columns, step.kinds, step.flight.visual))
    _shrink_tables(step, index, width, gone, cached)
    return packed.take(hidden)


def _gone_columns(step: Step, index: int, drop: Tensor) -> Tensor:
    """(b, columns + 1) bool by logical column; the last entry stands for padding and is False."""
    gone = torch.zeros(drop.shape[0], step.past + step.length + 1, dtype=torch.bool, device=drop.device)
    table = kv.table_of(step.cache.layers[index - 1]) if step.cache is not None else None
    columns = step.columns if table is None else table.columns
    gone.scatter_(1, columns.masked_fill(~drop, gone.shape[1] - 1), True)
    gone[:, -1] = False
    return gone


def _shrink_tables(step: Step, index: int, width: int, gone: Tensor, cached: bool) -> None:
    """Shorten the tables of layers from `index` on, and what those layers cached in earlier forwards."""
    if step.cache is None:
        return
    new: dict[int, tuple[SlotTable, Compaction | None]] = {}
    for layer in range(index, step.n_layers):
        old = kv.table_of(step.cache.layers[layer])
        if old is None:
            continue
        if id(old) not in new:
            new[id(old)] = _shrunk(step, old, width, gone if cached else None)
        table, kept = new[id(old)]
        kv.install(step.cache, layer, table)
        if kept is not None:
            step.cache.layers[layer].keep_slots(kept)


def _shrunk(step: Step, old: SlotTable, width: int, gone: Tensor | None) -> tuple[SlotTable, Compaction | None]:
    """The table without the columns that are gone, and which cached slots stay if some may go (None: none does)."""
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
        torch.cat([columns, step.columns], dim=1),
        torch.cat([kinds, step.kinds], dim=1),
        covered=old.covered,
        padded=padded or step.padded,
        shift=old.shift,
        window=old.window,
    )
    table.earlier = earlier
    table.begin(step.length)
    return table, kept
