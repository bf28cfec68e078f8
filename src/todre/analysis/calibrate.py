"""Calibration of ToDRE's stage 2: the layer and τ that save most at a stated loss.

Each question is answered once with its picture dropped after each candidate layer, whatever attention says, and once
with no drop; the ratios of eq. 7 are recorded on the way. The answer under any (layer, τ) follows from these
records: the answer with the drop where the ratios lie below τ, and the answer without a drop elsewhere. One half of the
pictures chooses a layer and τ. The other half measures how much accuracy this choice costs on other questions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from todre.analysis.drop_horizon import drop_horizon
from todre.analysis.drop_records import Goal, answers_of
from todre.analysis.questions import check_marked
from todre.analysis.results import Job, Record, measure_all
from todre.analysis.summary import Table
from todre.errors import InvalidValueError
from todre.files import write_atomic
from todre.hf.decoder import decoder_of

_MOST_THRESHOLDS = 64
Floats = NDArray[np.float64]
Find = Literal["pair", "horizon"]


@dataclass(frozen=True)
class Choice:
    """A layer and a threshold, and their effect on some questions.

    Attributes:
        layer, threshold: layer and threshold of stage 2.
        fired: (n,) bool, questions whose visual tokens stage 2 drops.
        difference: (n,) change of each question's score, against the same budget without stage 2.
        saved: share of all (visual token, layer) pairs that are not run, averaged over the questions.
    """

    layer: int
    threshold: float
    fired: NDArray[np.bool_]
    difference: Floats
    saved: float


def highest_ratio(drop: dict[str, Any]) -> float:
    """Ratio that τ must exceed for the picture to be dropped; infinite if it never is."""
    if not drop["dropped"] or drop["text_to_visual"] is None:
        return float("inf")
    return max(float(drop["text_to_visual"]), float(drop["visual_to_text"] or 0.0))


def choice(records: Sequence[Record], layer: int, threshold: float, depth: int) -> Choice:
    """Effect of stage 2 at `layer` with `threshold` on these questions."""
    ratios = np.array([highest_ratio(record["drop"][str(layer)]) for record in records])
    fired = ratios < threshold
    gone = np.array([1.0 - record["drop"][str(layer)]["left"] for record in records])
    change = np.array([record["drop"][str(layer)]["score"] - record["kept"] for record in records])
    return Choice(
        layer, threshold, fired, np.where(fired, change, 0.0), float((fired * gone).mean()) * (depth - layer) / depth
    )


def thresholds(records: Sequence[Record], layer: int) -> list[float]:
    """Candidates for τ: midpoints of neighbouring ratios, and one above the highest.

    There are at most `_MOST_THRESHOLDS` of them.
    """
    ratios = np.array([highest_ratio(record["drop"][str(layer)]) for record in records])
    known = np.unique(ratios[np.isfinite(ratios)])
    if not len(known):
        return []
    found = [*((known[:-1] + known[1:]) / 2).tolist(), min(1.0, float(known[-1]) + 0.01)]
    step = max(1, -(-len(found) // _MOST_THRESHOLDS))
    return [round(value, 4) for value in found[::-1][::step]][::-1]


def best(records: Sequence[Record], goal: Goal, depth: int) -> Choice | None:
    """The choice within the loss that saves most; None if there is none.

    Ties go to the deepest layer, and then to the lowest threshold.
    """
    table = Table.of(records)
    found: Choice | None = None
    for layer in reversed(goal.layers):
        for threshold in thresholds(records, layer):
            made = choice(records, layer, threshold, depth)
            if made.saved > (found.saved if found else 0.0) and _within(table, made, goal.loss):
                found = made
    return found


def _within(table: Table, made: Choice | None, loss: float) -> bool:
    if made is None:
        return False
    low = table.mean(made.difference)["low"]
    return low is not None and low >= -loss


def halves(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Two halves of the questions; pictures go to the halves in turn.

    Pictures are counted task by task, so that both halves hold about as many pictures of each task.

    Raises:
        InvalidValueError: fewer than four pictures; each half needs two for its interval.
    """
    first_task = {record["picture"]: record["task"] for record in reversed(records)}
    pictures = sorted(dict.fromkeys(record["picture"] for record in records), key=lambda picture: first_task[picture])
    if len(pictures) < 4:
        raise InvalidValueError(
            f"Calibrating needs at least four pictures, two to choose on and two to check with, not {len(pictures)}; "
            "ask more questions."
        )
    first = set(pictures[::2])
    return [r for r in records if r["picture"] in first], [r for r in records if r["picture"] not in first]


def calibrate(job: Job, goal: Goal) -> dict[str, Any]:
    """The document of a calibration; `method` in it is the method that was found."""
    questions = job.source.questions()
    halves([question.facts() for question in questions])
    check_marked(questions)
    depth = decoder_of(job.loaded.model).n_layers
    measured = measure_all(job, lambda questions: answers_of(job.loaded, questions, goal))
    return document(measured.records, goal, depth) | {"command": job.command, "conditions": measured.conditions}


def save_method(document: dict[str, Any], output: Path, find: Find = "pair") -> Path:
    """Write a method that was found to a file beside the document; returns its path.

    `ToDRE.from_dict(json.load(…))` reads this file.

    Args:
        document: the document of the calibration.
        output: the document's file.
        find: `pair` for the layer and threshold that save most; `horizon` for the method as it was, without the
            candidate layers before the measured horizon.
    """
    path = output.with_suffix(".method.json")
    method = document["method"] if find == "pair" else document["horizon"]["method"]
    write_atomic(path, json.dumps(method, indent=1) + "\n")
    return path


def document(records: list[Record], goal: Goal, depth: int) -> dict[str, Any]:
    """Document of the choice, its cost on the other pictures, and every layer's curve.

    A choice is `confirmed` if the other half's whole interval lies within the loss too. Many choices compete on the
    first half, so that half's interval flatters the winner. `unmeasured`, where there is such a thing, is what
    the given method has beside its layers and threshold, and the choice was measured without.
    """
    choosing, checking = halves(records)
    found = best(choosing, goal, depth)
    method = goal.dropping(found.layer, found.threshold) if found else goal.without
    tables = {"chosen_on": (choosing, Table.of(choosing)), "checked_on": (checking, Table.of(checking))}
    result: dict[str, Any] = {
        "what": "the layer and threshold of stage 2 that save most within a loss of accuracy",
        "loss_allowed": goal.loss,
        "decoder_layers": depth,
        "method": method.to_dict(),
        "found": found is not None,
        **({"unmeasured": goal.unmeasured} if found and goal.unmeasured else {}),
    }
    checked = tables["checked_on"][1], choice(checking, found.layer, found.threshold, depth) if found else None
    for name, (mine, table) in tables.items():
        made = choice(mine, found.layer, found.threshold, depth) if found else None
        marks = np.array([record["kept"] for record in mine])
        none = np.array([record["none"] for record in mine])
        result[name] = {
            "questions": len(mine),
            "unpruned": table.mean(none),
            "stage_1_alone": table.mean(marks),
            "stage_1_against_unpruned": table.mean(marks - none),
            "difference": table.mean(made.difference) if made else None,
            "fired": round(float(made.fired.mean()), 6) if made else 0.0,
            "saved": round(made.saved, 6) if made else 0.0,
        }
    result["confirmed"] = _within(*checked, goal.loss)
    always = {layer: choice(records, layer, float("inf"), depth).difference for layer in goal.layers}
    result["horizon"] = drop_horizon(Table.of(records), always, goal.loss, goal.method, depth)
    result["layers"] = [_curve(records, layer, depth) for layer in goal.layers]
    result["records"] = records
    return result


def _curve(records: Sequence[Record], layer: int, depth: int) -> dict[str, Any]:
    """Curve of one layer over all questions.

    The curve holds the cost of always dropping, the ratios, and cost and saving at each threshold.
    """
    table = Table.of(records)
    always = choice(records, layer, float("inf"), depth)
    ratios = [highest_ratio(record["drop"][str(layer)]) for record in records]
    finite = [ratio for ratio in ratios if np.isfinite(ratio)]
    points = []
    for threshold in thresholds(records, layer)[::4]:
        made = choice(records, layer, threshold, depth)
        points.append({"threshold": threshold, "saved": round(made.saved, 6), **table.mean(made.difference)})
    return {
        "layer": layer,
        "always_dropped": table.mean(always.difference),
        "ratio": {"lowest": min(finite, default=None), "highest": max(finite, default=None)},
        "thresholds": points,
    }
