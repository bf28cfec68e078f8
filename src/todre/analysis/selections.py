"""Visual tokens that several methods keep of the same pictures, side by side.

See ToDRE, figures 1, 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from todre.analysis.questions import PictureQuestion
from todre.analysis.results import Job, Record, measure_all
from todre.errors import TodreError, UnsupportedInputError, UnsupportedModelError
from todre.geometry import visual_token_boxes
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.methods.method_checks import check_prunes
from todre.plots.kept_tokens import Row
from todre.plots.marks import Panel
from todre.running import Settings, answer

Methods = Sequence[tuple[str, Method]]
"""Pairs of (name, method), in the order of the panels."""


def kept_of(loaded: Loaded, question: PictureQuestion, methods: Methods, max_new_tokens: int) -> Record:
    """Kept tokens and answer of each method for one question, ready for JSON.

    Kept are those that reached the deepest layers, as in `todre ask --overlay`.

    A method that cannot be used with this model has its reason in place of tokens.
    """
    panels: dict[str, Any] = {}
    for name, method in methods:
        try:
            check_prunes(method)
            reply = answer(loaded, [question.open()], question.question.text, method, Settings(max_new_tokens))
        except (UnsupportedModelError, UnsupportedInputError) as error:
            panels[name] = {"refused": str(error)}
            continue
        report = reply.report
        panels[name] = {
            "kept": report.survivors(0),
            "before": report.visual_tokens_before[0],
            "per_layer": list(report.visual_tokens_per_layer[0]),
            "dropped_after": report.dropped_after_layer[0],
            "said": reply.text,
        }
    return {"panels": panels}


def kept(job: Job, methods: Methods, max_new_tokens: int) -> dict[str, Any]:
    """The document of a run; measures all questions of `job`."""
    measured = measure_all(
        job, lambda questions: [kept_of(job.loaded, one, methods, max_new_tokens) for one in questions]
    )
    return {
        "what": "visual tokens that methods keep of the same pictures",
        "command": job.command,
        "conditions": measured.conditions,
        "methods": {name: method.to_dict() for name, method in methods},
        "overlap": overlaps(measured.records),
        "records": measured.records,
    }


def overlaps(records: Sequence[Record]) -> dict[str, float]:
    """Mean Jaccard index of the tokens that two methods keep, by pair `a & b`.

    Methods that keep everything are left out.
    """
    sums: dict[str, list[float]] = {}
    for record in records:
        chosen = {
            name: set(panel["kept"])
            for name, panel in record["panels"].items()
            if "kept" in panel and len(panel["kept"]) < panel["before"]
        }
        names = list(chosen)
        for place, first in enumerate(names):
            for second in names[place + 1 :]:
                both = chosen[first] | chosen[second]
                share = len(chosen[first] & chosen[second]) / len(both) if both else 1.0
                sums.setdefault(f"{first} & {second}", []).append(share)
    return {pair: round(sum(values) / len(values), 6) for pair, values in sums.items()}


def rows_of(document: dict[str, Any], questions: Sequence[PictureQuestion], loaded: Loaded) -> list[Row]:
    """Rows for `todre.plots.kept_tokens`: one per picture, with a panel per method.

    Raises:
        UnsupportedModelError: the places of tokens in the picture are not known for this model.
    """
    rows = []
    for record, one in zip(document["records"], questions, strict=True):
        picture = one.open()
        boxes = visual_token_boxes(loaded.processor, loaded.model.config, [picture.size])
        panels = [
            Panel(name, _lines(panel, len(boxes)), panel["kept"])
            for name, panel in record["panels"].items()
            if "kept" in panel
        ]
        counts = {panel["before"] for panel in record["panels"].values() if "kept" in panel}
        if not panels:
            reasons = "; ".join(panel["refused"] for panel in record["panels"].values())
            raise TodreError(f"None of the methods can be used with {loaded.name}: {reasons}")
        if counts != {len(boxes)}:
            raise UnsupportedModelError(
                f"The model saw {sorted(counts)} visual tokens, and the places of {len(boxes)} are known, "
                "so they cannot be drawn."
            )
        rows.append(Row(picture, boxes, panels, f"{record['question']} (true: {record['answer'] or '?'})"))
    return rows


def _lines(panel: dict[str, Any], total: int) -> tuple[str, ...]:
    counts = f"{len(panel['kept'])} of {total} visual tokens"
    if panel["dropped_after"] is not None:
        counts += f", none after layer {panel['dropped_after']}"
    return counts, f"“{panel['said']}”"
