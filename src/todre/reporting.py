"""Fill a report from a finished step."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from todre import cache as kv
from todre.layout import VISUAL
from todre.report import AttentionRatios, PruningReport
from todre.step import Step
from todre.tower_runs import Lengths, tally


def fill(report: PruningReport, step: Step, tower: Iterable[Lengths]) -> None:
    """Describe `step`, a prefill, in `report`; `tower` says what the layers of each call of a vision tower ran on."""
    if step.visual is None or step.keep is None:
        return
    rows = range(step.visual.shape[0])
    report.prefills += 1
    report.select_seconds = step.select_seconds
    report.tower_tokens = tally(tower)
    report.kept = [step.keep[row][step.visual[row]].nonzero().flatten().tolist() for row in rows]
    report.visual_tokens_before = step.visual.sum(dim=1).tolist()
    report.visual_tokens_after = step.keep.sum(dim=1).tolist()
    _, _, first_kinds = step.trace[0]
    valid = step.attention_mask[:, step.past :] if step.attention_mask is not None else torch.ones_like(step.visual)
    report.text_tokens = (valid & ~step.visual).sum(dim=1).tolist()
    counts, changes = [], {layers: kinds for layers, _, kinds in step.trace}
    kinds = first_kinds
    for layer in range(step.n_layers):
        kinds = changes.get(layer, kinds)
        counts.append((kinds == VISUAL).sum(dim=1).tolist())
    report.visual_tokens_per_layer = [[layer[row] for layer in counts] for row in rows]
    report.kept_from_layer = [_kept_from(step, row) for row in rows]
    report.dropped_after_layer = [_dropped_after(report.visual_tokens_per_layer[row]) for row in rows]
    report.attention_ratios = [_ratios(step, row) for row in rows]
    held = kv.kv_bytes(step.cache)
    report.kv_bytes = [held for _ in rows]
    report.kv_bytes_unpruned = [_unpruned_bytes(step) for _ in rows]


def _kept_from(step: Step, row: int) -> dict[int, list[int]]:
    """By count of layers run, which of the sample's visual tokens (0..n-1) are in flight from there on."""
    assert step.visual is not None
    place = step.visual[row].cumsum(dim=0) - 1
    found: dict[int, list[int]] = {}
    last: list[int] | None = None
    for layers, columns, kinds in step.trace:
        mine = columns[row][kinds[row] == VISUAL]
        here = place[(mine - step.past).to(place.device)].tolist()
        if here != last:
            found[layers] = last = here
    return found


def _dropped_after(counts: list[int]) -> int | None:
    """The number of layers that ran before the first that saw no visual token."""
    if not counts[0]:
        return None
    return next((layer for layer, count in enumerate(counts) if not count), None)


def _ratios(step: Step, row: int) -> dict[int, AttentionRatios]:
    ratios = {}
    for layer, reduction in step.reductions.items():
        if reduction.text_to_visual is None or reduction.visual_to_text is None or not step.ratio_rows[layer][row]:
            continue
        pair = [reduction.text_to_visual[row].item(), reduction.visual_to_text[row].item()]
        ratios[layer] = AttentionRatios(*(None if value != value else value for value in pair))
    return ratios


def _unpruned_bytes(step: Step) -> int:
    """Bytes per row of a cache that holds every logical column."""
    total = 0
    for layer in step.cache.layers if step.cache is not None else ():
        if kv.holds_slots(layer) and layer.is_initialized and layer.keys.numel():
            slots = layer.keys.shape[-2]
            columns = slots if kv.is_static(layer) else step.past + step.length
            if kv.window_of(layer):
                columns = min(columns, kv.window_of(layer) - 1)
            total += (layer.keys.nbytes + layer.values.nbytes) // (layer.keys.shape[0] * slots) * columns
    return total
