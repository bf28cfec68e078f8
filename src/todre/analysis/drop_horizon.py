"""The measured horizon of stage 2: where dropping the picture costs little.

Another horizon than that of `todre.analysis.horizon`, which asks what single windows still tell: here the whole picture
leaves, the model answers, and what counts is the score. A layer is safe if the whole 95 % interval of the change lies
above the allowed loss, there and at every later measured layer, since attention to a picture may come back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from todre.analysis.drop_records import without_stage_2
from todre.analysis.summary import Table
from todre.methods.todre import ToDRE

Floats = NDArray[np.float64]


def drop_horizon(table: Table, changes: Mapping[int, Floats], loss: float, method: ToDRE, depth: int) -> dict[str, Any]:
    """Horizon of each task and of all questions, and the method that waits for it.

    The method's horizon is the deepest of all tasks, so that a task which needs its picture longest is not outvoted.
    The method keeps its threshold and those of its candidate layers that are not before the horizon. Without a horizon
    of every task, stage 2 stays off.

    Args:
        table: pictures and tasks of the questions.
        changes: count of layers run → (n,) change of each question's score where its picture is dropped there, against
            the same budget without stage 2.
        loss: score that may be lost, from 0 to 1.
        method: ToDRE with its candidate layers and threshold.
        depth: decoder layers.
    """
    groups = {"all": np.ones(len(table.pictures), dtype=bool), **table.tasks}
    tasks: dict[str, dict[str, Any]] = {}
    for name, mine in groups.items():
        points = [
            {"layer": layer, **table.mean(np.where(mine, change, np.nan))} for layer, change in sorted(changes.items())
        ]
        tasks[name] = {"questions": int(mine.sum()), "horizon": first_safe(points, loss), "layers": points}
    found = [task["horizon"] for task in tasks.values()]
    horizon: int | None = None if None in found else max(found)
    both = tuple(sorted({*method.stages, 2}))
    candidates = dataclasses.replace(method, stages=both, horizon=None).reduce_after(depth)
    waiting = dataclasses.replace(method, stages=both, horizon=horizon)
    return {
        "horizon": horizon,
        "candidates": list(candidates),
        "left": [] if horizon is None else list(waiting.reduce_after(depth)),
        "method": (without_stage_2(method) if horizon is None else waiting).to_dict(),
        "tasks": tasks,
    }


def first_safe(points: Sequence[Mapping[str, Any]], loss: float) -> int | None:
    """The first layer from which on every whole interval lies above -loss, or None.

    Args:
        points: by ascending layer, each with `layer` and `low`, the lower end of its interval or None.
        loss: score that may be lost.
    """
    horizon = None
    for point in reversed(points):
        if point["low"] is None or point["low"] < -loss:
            break
        horizon = point["layer"]
    return horizon
