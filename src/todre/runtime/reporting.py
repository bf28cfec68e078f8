"""Reporting: fill a report from a finished step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.methods.views.reduction import Reduction
from todre.report import AttentionRatios, PruningReport
from todre.runtime.selection import BatchSelection
from todre.runtime.step import Snapshot, Step
from todre.tensors.columns import VISUAL
from todre.tensors.transfer import fetch
from todre.tower.runs import Lengths, tally


def fill(report: PruningReport, step: Step, tower: Iterable[Lengths]) -> None:
    """Describe a prefill in `report`.

    Args:
        report: the attachment's report.
        step: the finished prefill.
        tower: for each call of a vision tower, the lengths that its layers ran on.
    """
    selection = step.selection
    if selection is None:
        return
    rows = range(len(selection.counts))
    report.prefills += 1
    report.select_seconds = step.select_seconds
    report.tower_tokens = tally(tower)
    report.visual_tokens_before, report.visual_tokens_after = list(selection.offered), list(selection.counts)
    report.text_tokens = list(step.text_counts)
    report.auto_budgets = [list(counts) for counts in selection.budgets]
    report.guarded = [list(found) for found in selection.findings]
    counts, changes = [], {snapshot.layers: snapshot.visual for snapshot in step.trace}
    visual = step.trace[0].visual
    for layer in range(step.n_layers):
        visual = changes.get(layer, visual)
        counts.append(visual)
    report.visual_tokens_per_layer = [[layer[row] for layer in counts] for row in rows]
    report.dropped_after_layer = [_dropped_after(report.visual_tokens_per_layer[row]) for row in rows]
    held = kv.kv_bytes(step.inputs.cache)
    report.kv_bytes = [held for _ in rows]
    report.kv_bytes_unpruned = [_unpruned_bytes(step) for _ in rows]
    judged = [
        _Judged(layer, layer < step.n_layers, one, step.answers.held_visual[layer])
        for layer, one in step.answers.reductions.items()
        if one.text_to_visual is not None and one.visual_to_text is not None
    ]
    trace, past = list(step.trace), step.inputs.past
    report.read_later(lambda: _read(selection, trace, past, judged))


class _Judged(NamedTuple):
    """A layer after which a method's ratios decided.

    Attributes:
        layer: count of layers run.
        drops: whether layers are left that tokens can leave.
        answer: the methods' joint answer.
        held: for each row, whether it held visual tokens.
    """

    layer: int
    drops: bool
    answer: Reduction
    held: Sequence[bool]

    def tensors(self) -> list[Tensor]:
        """All that has to be read from the device, in the order of `told`."""
        answer = self.answer
        faded = [] if answer.faded is None else [answer.faded]
        pairs = [answer.text_to_visual, answer.visual_to_text, *(x for pair in answer.ahead.values() for x in pair)]
        return [*(x for x in pairs if x is not None), *faded]

    def told(self, found: Iterator[Tensor]) -> _Told:
        """The values of `tensors`, taken from `found` in their order."""
        pair = next(found).tolist(), next(found).tolist()
        ahead = {layer: (next(found).tolist(), next(found).tolist()) for layer in self.answer.ahead}
        faded = [False] * len(self.held) if self.answer.faded is None else next(found).tolist()
        return _Told(self, pair, ahead, faded)


class _Told(NamedTuple):
    """What a `_Judged` holds, on the host, with a value for each row in each list."""

    judged: _Judged
    pair: tuple[list[float], list[float]]
    ahead: dict[int, tuple[list[float], list[float]]]
    faded: list[bool]


def fill_text(report: PruningReport, call: DecoderCall, cache: Any) -> None:
    """Describe a request of text alone in `report`.

    Later steps of the conversation leave the report as it is.

    Args:
        report: the attachment's report.
        call: the base model's call.
        cache: the cache that the base model returned, or None.
    """
    rows = call.rows
    reported = len(report.visual_tokens_before) == rows and not any(report.visual_tokens_before)
    if reported and _goes_on(cache, call.columns):
        return
    mask = call.mask
    text = [call.columns] * rows
    if isinstance(mask, Tensor) and mask.ndim == 2:
        text = fetch([mask[:, -call.columns :].bool().sum(dim=1)])[0].tolist()
    held = kv.kv_bytes(cache) if hasattr(cache, "layers") else 0
    report.text_alone(text, held)


def _goes_on(cache: Any, columns: int) -> bool:
    """True if a forward of `columns` columns, which filled `cache`, had a past.

    Only the device may know how full a static cache is, and no decoding step should wait for it. So a forward of one
    column on a static cache counts as having a past.
    """
    layers = [layer for layer in getattr(cache, "layers", ()) if kv.holds_slots(layer)]
    if not layers:
        return False
    if kv.is_static(layers[0]) and columns == 1:
        return True
    return int(layers[0].get_seq_length()) > columns


def _read(selection: BatchSelection, trace: list[Snapshot], past: int, judged: list[_Judged]) -> dict[str, Any]:
    """The report's values that only the device knows, read in one piece."""
    chosen = [kept for kept in selection.rows if kept is not None]
    moving = [x for snapshot in trace for x in (snapshot.columns, snapshot.kinds)]
    found = iter(fetch([*chosen, *moving, *(x for one in judged for x in one.tensors())]))
    kept = [
        list(range(count)) if kept is None else next(found).tolist()
        for kept, count in zip(selection.rows, selection.offered, strict=True)
    ]
    snapshots = [snapshot._replace(columns=next(found), kinds=next(found)) for snapshot in trace]
    told, rows = [one.told(found) for one in judged], range(len(kept))
    fired = [_fired(told, row) for row in rows]
    return {
        "kept": kept,
        "kept_from_layer": [_kept_from(snapshots, selection.columns[row] + past, row) for row in rows],
        "attention_ratios": [
            {one.judged.layer: _pair(one.pair, row) for one in told if one.judged.held[row]} for row in rows
        ],
        "ratios_ahead": [
            {
                one.judged.layer: {layer: _pair(pair, row) for layer, pair in one.ahead.items()}
                for one in told
                if one.judged.held[row] and one.ahead
            }
            for row in rows
        ],
        "faded_after_layer": [None if one is None else one.layer for one in fired],
        "faded_early": [one is not None and one.answer.early for one in fired],
    }


def _fired(told: list[_Told], row: int) -> _Judged | None:
    """The first layer after which the ratios of one row made visual tokens leave."""
    fired = (one.judged for one in told if one.faded[row] and one.judged.held[row] and one.judged.drops)
    return next(fired, None)


def _kept_from(trace: list[Snapshot], places: Tensor, row: int) -> dict[int, list[int]]:
    """One sample's visual tokens (0..n-1) in flight, by count of layers run.

    Only counts of layers at which these tokens change are listed.

    Args:
        trace: the columns in flight at the start and after each change.
        places: (n,) int64, logical columns of the sample's visual tokens, ascending.
        row: the sample's row.
    """
    found: dict[int, list[int]] = {}
    last: list[int] | None = None
    for snapshot in trace:
        mine = snapshot.columns[row][snapshot.kinds[row] == VISUAL]
        here = torch.searchsorted(places, mine).tolist()
        if here != last:
            found[snapshot.layers] = last = here
    return found


def _pair(values: tuple[list[float], list[float]], row: int) -> AttentionRatios:
    """Both ratios of one row; NaN becomes None."""
    return AttentionRatios(*(None if one[row] != one[row] else one[row] for one in values))


def _dropped_after(counts: list[int]) -> int | None:
    """The last layer (1-based) that saw visual tokens; None if all or no layers did."""
    if not counts[0]:
        return None
    return next((layer for layer, count in enumerate(counts) if not count), None)


def _unpruned_bytes(step: Step) -> int:
    """Bytes per row of a cache that holds every logical column."""
    total = 0
    for layer in step.inputs.cache.layers if step.inputs.cache is not None else ():
        if kv.has_keys(layer):
            slots = layer.keys.shape[-2]
            columns = slots if kv.is_static(layer) else step.inputs.past + step.inputs.length
            if kv.window_of(layer):
                columns = min(columns, kv.window_of(layer) - 1)
            total += (layer.keys.nbytes + layer.values.nbytes) // (layer.keys.shape[0] * slots) * columns
    return total
