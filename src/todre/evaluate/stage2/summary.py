"""The document of a study, from its measured parts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from todre.evaluate.stage2.changes import KINDS
from todre.evaluate.stage2.plan import BLIND, WHOLE, Part, Plan, deep_method, deep_name
from todre.evaluate.stage2.rules import Fired, describe, fired
from todre.evaluate.stage2.scores import Floats, Scores

_LONGEST = 1000
"""Most characters of a line that holds more than one value."""


def summarise(scores: Scores, plan: Plan) -> dict[str, Any]:
    """Accuracy by change, ratios, stage 2, methods and rankings, ready for JSON."""
    parts = {part.name: part for part in plan.parts()}
    rules = fired(scores, plan)
    return {
        "questions": len(scores.items),
        "pictures": len({item.picture for item in scores.items}),
        "tasks": dict(Counter(item.task for item in scores.items)),
        "whole": scores.whole(scores.marks(parts[WHOLE])),
        "blind": scores.whole(scores.marks(parts[BLIND])),
        "curves": _curves(scores, parts[WHOLE]),
        "ratios": [_ratios(scores, part, plan) for part in parts.values() if part.layered and not part.grey],
        "stage2": [describe(row, scores, plan.depth) for row in rules],
        "methods": [_method(scores, part, parts[WHOLE], rules) for part in _named(parts)],
        "deep": _deep(scores, plan, parts),
    }


def as_text(value: Any, indent: int = 0) -> str:
    """JSON text of a document; a value that is short stands on one line.

    Args:
        value: the document, or a part of it.
        indent: number of spaces before its inner lines.
    """
    line = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if len(line) <= _LONGEST or not isinstance(value, dict | list):
        return line
    inner = " " * (indent + 1)
    if isinstance(value, list):
        rows, brackets = [as_text(each, indent + 1) for each in value], "[]"
    else:
        rows, brackets = [f"{json.dumps(key)}: {as_text(each, indent + 1)}" for key, each in value.items()], "{}"
    return f"{brackets[0]}\n{inner}" + f",\n{inner}".join(rows) + f"\n{' ' * indent}{brackets[1]}"


def _named(parts: dict[str, Part]) -> list[Part]:
    return [part for part in parts.values() if not part.layered and part.groups is None]


def _curves(scores: Scores, part: Part) -> dict[str, list[dict[str, Any]]]:
    """Accuracy at each layer of each kind of change, and its change."""
    before = scores.marks(part)
    curves: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for change in part.changes:
        marks = scores.marks(part, change.name)
        point = {"layer": change.layer, "score": scores.whole(marks), "against_whole": scores.whole(marks - before)}
        curves[change.kind].append(point)
    return curves


def _ratios(scores: Scores, part: Part, plan: Plan) -> dict[str, Any]:
    """Attention to the picture after every layer, over the questions of one part."""
    found = {which: scores.attention(part, which) for which in ("text", "last", "generated", "first_slot")}
    layers = []
    for layer in range(plan.depth):
        at = {which: values[:, layer] for which, values in found.items() if values.size}
        row: dict[str, Any] = {"layer": layer + 1}
        for which in ("text", "last"):
            row[which] = _distribution(scores, at[which], plan)
        row |= {which: scores.mean(at[which]) for which in ("generated", "first_slot") if which in at}
        layers.append(row)
    queries = scores.each(part, lambda item, record: record["tokens"]["text"])
    unseeing = scores.each(part, lambda item, record: record["tokens"]["unseeing"])
    tokens = scores.each(part, lambda item, record: record["tokens"]["visual"])
    return {
        "part": part.name,
        "visual_tokens": round(float(np.nanmean(tokens)), 3),
        "text_queries": int(np.nansum(queries)),
        "text_queries_that_cannot_see_the_picture": int(np.nansum(unseeing)),
        "layers": layers,
    }


def _distribution(scores: Scores, values: Floats, plan: Plan) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    below = {f"{tau:g}": round(float((known < tau).mean()), 6) for tau in plan.thresholds}
    return {
        **scores.mean(values),
        "least": round(float(known.min()), 6),
        "most": round(float(known.max()), 6),
        "below": below,
        "tasks": {
            task: {
                "value": round(float(np.nanmean(mine)), 6),
                "least": round(float(np.nanmin(mine)), 6),
                "most": round(float(np.nanmax(mine)), 6),
                "below": {f"{tau:g}": round(float((mine[~np.isnan(mine)] < tau).mean()), 6) for tau in plan.thresholds},
            }
            for task in scores.tasks
            for mine in [scores.only(task, values)]
        },
    }


def _method(scores: Scores, part: Part, whole: Part, rules: list[Fired]) -> dict[str, Any]:
    """A method that was named, against no pruning and against stage 2.

    Stage 2 is the versions' own, as printed and at the method's threshold.
    """
    marks, fields = scores.marks(part), part.method.to_dict()
    alike = [row for row in rules if row.rule == "printed" and row.threshold == fields.get("threshold")]
    dropped = scores.each(part, lambda item, record: float(record["dropped_after"] is not None))
    at = Counter(record["dropped_after"] for record in scores.records(part) if record is not None)
    return {
        "name": part.name.removeprefix("method "),
        "fields": fields,
        "visual_tokens": scores.mean(scores.each(part, lambda item, record: record["tokens"]["visual"]))["value"],
        "layer_mean": scores.mean(scores.each(part, lambda item, record: record["layer_mean"]))["value"],
        "dropped": scores.whole(dropped),
        "by_layer": {str(layer): count for layer, count in sorted((k, v) for k, v in at.items() if k is not None)},
        "score": scores.whole(marks),
        "against_whole": scores.whole(marks - scores.marks(whole)),
        "against": {row.name: scores.whole(marks - row.marks) for row in rules if row.printed},
        "against_at_its_threshold": {row.name: scores.whole(marks - row.marks) for row in alike},
        "against_without_stage_2": {row.name: scores.whole(marks - row.before) for row in rules if row.printed},
    }


def _deep(scores: Scores, plan: Plan, parts: dict[str, Part]) -> list[dict[str, Any]]:
    """Rankings in deep layers, each against random tokens there."""
    rows = []
    before = scores.marks(parts[WHOLE])
    for layer in plan.deep_layers if plan.deep_groups else ():
        for retain in plan.deep_retains:
            marks = {name: _mean_mark(scores, plan, parts, name, layer, retain) for name in plan.rankings}
            for name, mine in marks.items():
                row = {"ranking": name, "layer": layer, "retain": retain, "score": scores.whole(mine)}
                row["against_whole"] = scores.whole(mine - before)
                if "random-deep" in marks and name != "random-deep":
                    row["against_random"] = scores.whole(mine - marks["random-deep"])
                rows.append(row)
    return rows


def _mean_mark(scores: Scores, plan: Plan, parts: dict[str, Part], name: str, layer: int, retain: float) -> Floats:
    """(n,) marks averaged over the draws of a ranking."""
    draws = len(deep_method(name, layer, retain, plan.draws))
    marks = [scores.marks(parts[deep_name(name, layer, retain, draw)]) for draw in range(draws)]
    mean: Floats = np.mean(marks, axis=0)
    return mean
