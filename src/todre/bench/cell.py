"""Measurement of one cell: all subjects under the same conditions, a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from todre.bench.kv import measured_bytes, predicted_bytes
from todre.bench.memory import Peak, peak_before_decoder, peak_of
from todre.bench.method_specs import MethodSpec
from todre.bench.oracle import Oracle
from todre.bench.prompts import Prompt
from todre.bench.rounds import Sample, sample
from todre.bench.settings import Cell, Rounds
from todre.bench.spread import ratios, spread
from todre.bench.subjects import Smaller, Tick, subjects_of
from todre.bench.workloads import Called, Subject, exact_length
from todre.flops import convention, count_prompt
from todre.flops.config_shapes import shape_of
from todre.hf.model_parts import attention_backend, text_config
from todre.methods.base import Method
from todre.methods.todre import ToDRE
from todre.timing import stopwatch

STAGES = ("encode", "select", "prefill", "first_token", "decode_per_token", "total", "attach")
COMPARED = ("first_token", "decode_per_token", "total")

Row = dict[str, Any]
"""Row of a result: one measurement, ready for JSON."""


def measure(
    model: Any,
    prompt: Prompt,
    specs: Sequence[MethodSpec],
    cell: Cell,
    how: Rounds,
    tick: Tick = lambda what: None,
    smaller: Smaller | None = None,
) -> list[Row]:
    """Measure every subject under `cell`, interleaved round by round.

    The order of the subjects is rotated by one each round.

    Args:
        model: the model, already set to the cell's backend.
        prompt: the prompt, with the cell's batch and text.
        specs: methods; the untouched model is added before them.
        cell: the conditions.
        how: number of rounds.
        tick: called with a description of each step before the step begins.
        smaller: makes the prompts of methods that resize pictures; needed where there are such methods.

    Returns:
        One row for each subject: no pruning, and each method followed by its oracle.
    """
    with exact_length(model), threads(cell.threads):
        subjects, reasons = subjects_of(model, prompt, specs, how.oracle, tick, smaller)
        floor = peak_before_decoder(model, prompt.inputs) if how.memory else None
        facts = {
            each.name: _facts(model, prompt.visual_tokens, each, cell.new_tokens, floor, tick) for each in subjects
        }
        samples: dict[str, list[Sample]] = {each.name: [] for each in subjects}
        for number in range(how.warm_up + how.rounds):
            turn = number % len(subjects)
            for each in (*subjects[turn:], *subjects[:turn]):
                tick(f"round {number + 1} of {how.warm_up + how.rounds}, {each.name}")
                taken = sample(model, each, cell.new_tokens)
                if number >= how.warm_up:
                    samples[each.name].append(taken)
        used = torch.get_num_threads()
    bound = _bounds(subjects, facts)
    backend = attention_backend(text_config(model))
    measured = {"text_tokens": prompt.text_tokens, "threads": used, "backend": backend}
    conditions = {**cell.to_dict(), **measured}
    return [
        {
            "cell": conditions,
            "asked": cell.to_dict(),
            **_described(each, reasons),
            **_timed(samples, each.name, bound.get(each.name), cell),
            **facts[each.name],
            **_memory_ratios(facts, each.name, bound.get(each.name)),
        }
        for each in subjects
    ]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` CPU threads inside the block."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _described(subject: Subject, reasons: dict[str, str]) -> Row:
    kind = "none" if subject.method is None else "method" if subject.of is None else "oracle"
    described: Row = {"subject": subject.name, "kind": kind, "of": subject.of, "how": subject.how}
    described["method"] = None if subject.method is None else subject.method.to_dict()
    if subject.name in reasons:
        described["no_oracle"] = reasons[subject.name]
    return described


def _bounds(subjects: Sequence[Subject], facts: dict[str, Row]) -> dict[str, str]:
    """Name of each method's bound: its oracle, or `none` if nothing was dropped."""
    bounds = {each.of: each.name for each in subjects if each.of is not None}
    for each in subjects:
        tokens = facts[each.name]["visual_tokens"]
        if each.method is not None and each.of is None and set(tokens["per_layer"]) == {tokens["before"]}:
            bounds[each.name] = "none"
    return bounds


def _timed(samples: dict[str, list[Sample]], name: str, bound: str | None, cell: Cell) -> Row:
    mine = samples[name]

    def values(key: str, of: str) -> list[float | None]:
        return [getattr(each, key) for each in samples[of]]

    timed: Row = {
        "rounds": len(mine),
        "ms": {key: spread(values(key, name)) for key in STAGES},
        "tokens_per_second": spread([1000 * cell.batch * cell.new_tokens / each.total for each in mine]),
        "samples_per_second": spread([1000 * cell.batch / each.total for each in mine]),
        "ms_after_tokens": _after(mine),
        "ratio_to_none": {key: ratios(values(key, name), values(key, "none")) for key in COMPARED},
        "bound": bound,
        "ratio_to_oracle": None,
        "samples_ms": {key: values(key, name) for key in COMPARED},
    }
    if bound is not None:
        timed["ratio_to_oracle"] = {key: ratios(values(key, name), values(key, bound)) for key in COMPARED}
    return timed


def _after(samples: Sequence[Sample]) -> dict[str, dict[str, float] | None]:
    """Milliseconds to the end of forward n, for n a power of two or the last forward."""
    count = len(samples[0].forwards)
    places = sorted({2**power for power in range(count.bit_length()) if 2**power <= count} | {count})
    return {str(place): spread([each.forwards[place - 1] for each in samples]) for place in places}


def _memory_ratios(facts: dict[str, Row], name: str, bound: str | None) -> Row:
    """Ratios of peak memory to the oracle's.

    `floor` is the ratio to the untouched model's peak before its decoder, if this is more than the oracle's peak.
    """
    mine, other = facts[name]["peak_bytes"], facts[bound]["peak_bytes"] if bound else None
    if mine is None or other is None:
        return {"memory_ratio_to_oracle": None}
    found = {key: mine[key] / other[key] for key in ("above", "whole")}
    return {"memory_ratio_to_oracle": {**found, "floor": mine["above"] / max(other["above"], other["before_decoder"])}}


def _facts(model: Any, before: int, subject: Subject, new_tokens: int, floor: int | None, tick: Tick) -> Row:
    """Facts of a subject that do not vary: tokens, KV bytes, FLOPs, peak memory.

    `before` is the number of visual tokens of a row of the unpruned model.
    """
    prompt = subject.prompt
    tick(f"looking at {subject.name}")
    with stopwatch(model) as watch, subject.ready() as call:
        called = call(new_tokens, lambda: 0.0)
        per_layer = _visual_per_layer(model, subject, called)
        measured = measured_bytes(called.cache)
        tower = called.report.tower_tokens if called.report is not None else []
        del called
    columns = [prompt.text_tokens + max(counts) + new_tokens - 1 for counts in zip(*per_layer, strict=True)]
    predicted = predicted_bytes(model.config, columns, prompt.rows, model.dtype.itemsize)
    return {
        "visual_tokens": {"before": before, "entered": per_layer[0][0], "per_layer": per_layer[0]},
        "kv_bytes": {"measured": measured, "predicted": predicted},
        "peak_bytes": None if floor is None else _peak(model, subject, new_tokens, floor, tick),
        **_flops(model, prompt, subject.method, per_layer, new_tokens, watch.tiles // prompt.rows, tower),
    }


def _visual_per_layer(model: Any, subject: Subject, called: Called) -> list[list[int]]:
    """Number of visual tokens that each decoder layer ran on, for each row."""
    prompt = subject.prompt
    if called.report is not None:
        return called.report.visual_tokens_per_layer
    layers = text_config(model).num_hidden_layers
    if not isinstance(subject, Oracle):
        return [[prompt.visual_tokens] * layers for _ in range(prompt.rows)]
    entered = [int(row.sum()) - prompt.text_tokens for row in subject.short.mask]
    counts = [[count] * layers for count in entered]
    for layer, places in sorted(subject.short.drops.places.items()):
        for row in counts:
            row[layer:] = [int(places.shape[1]) - prompt.text_tokens] * (layers - layer)
    return counts


def _peak(model: Any, subject: Subject, new_tokens: int, before_decoder: int, tick: Tick) -> Row:
    tick(f"watching the memory of {subject.name}")
    weights = sum(weight.nbytes for weight in model.parameters())
    with subject.ready() as call:
        peak: Peak = peak_of(model.device, lambda: call(new_tokens, lambda: 0.0), weights)
    return {
        "above": peak.above,
        "whole": peak.whole,
        "weights": weights,
        "before_decoder": before_decoder,
        "method": peak.method,
    }


def _flops(
    model: Any,
    prompt: Prompt,
    method: Method | None,
    per_layer: list[list[int]],
    new_tokens: int,
    tiles: int,
    tower: Sequence[Sequence[tuple[int, int]]],
) -> Row:
    """FLOPs of the batch, and v1's tally for one row; None where uncountable.

    A vision tower that ran on fewer tokens reports their number for all rows together, so its FLOPs are counted only
    for batches of one row.
    """
    if tower and prompt.rows > 1:
        return {"flops": None, "profiler_flops": None}
    chosen_from = prompt.visual_tokens if isinstance(method, ToDRE) and method.selects else None
    counted = [
        count_prompt(
            model.config,
            prompt.first(),
            tiles=tiles,
            text_tokens=prompt.text_tokens,
            visual_tokens=layers,
            new_tokens=new_tokens,
            candidates=chosen_from,
            tower_tokens=tower,
        )
        for layers in per_layer
    ]
    if any(one is None for one in counted):
        return {"flops": None, "profiler_flops": None}
    known = [one for one in counted if one is not None]
    tally = None
    vision = shape_of(model.config).vision
    if vision is not None and vision.patches is not None:  # the tally counts tiles, and others take any size
        tally = convention("profiler", model.config, per_layer[0], text_tokens=prompt.text_tokens, tiles=tiles)
    sums = {key: sum(getattr(one, key) for one in known) for key in ("encoder", "selection", "first_token", "total")}
    return {"flops": sums, "profiler_flops": tally}
