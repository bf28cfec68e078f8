"""Runs of a study: part by part and group by group, in one or several processes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.stage2.measure import Task, groups_of, measuring
from todre.evaluate.stage2.pictures import check_items
from todre.evaluate.stage2.plan import Plan
from todre.evaluate.stage2.scores import Scores
from todre.evaluate.stage2.summary import summarise
from todre.evaluate.stage2.working import Done, opened
from todre.evaluate.workers import Queue, inline, parallel
from todre.files import new_folder
from todre.loading.model import Loaded

Ticker = Callable[[Iterable[Done], int, int], Iterable[Done]]
"""Shows progress on finished lines and passes them on.

Called with (lines, number of lines left, number of lines in all).
"""


def study(
    config: EvalConfig,
    plan: Plan,
    file: Path,
    *,
    processes: int = 1,
    loaded: Loaded | None = None,
    ticker: Ticker = lambda lines, left, total: lines,
) -> dict[str, Any]:
    """Measure what is not measured yet; returns the document without its conditions.

    Lines that are in `file` already, from an interrupted run or a run of fewer parts, are not measured again. The
    document does not depend on them, or on the number of processes. Group sizes matter to random methods, which draw
    anew for each group, and to rankings in deep layers, which are asked about the first groups alone.

    Args:
        config: questions and model.
        plan: what is measured.
        file: the working file.
        processes: number of processes; more than one measure in parallel, each with its own model on one thread.
        loaded: the model, to use when `processes` is 1.
        ticker: shows progress.

    Raises:
        InvalidValueError: a value that cannot be used, or a working file of another run.
    """
    if processes < 1:
        raise InvalidValueError(f"processes must be a whole number of at least 1, not {processes!r}.")
    groups = groups_of(config)
    items = [item for group in groups for item in group]
    check_items(items)
    parts = plan.parts()
    tasks = [
        (number, part) for number in range(len(groups)) for part in parts if part.groups is None or number < part.groups
    ]
    new_folder(file.parent, parents=True)
    started = time.monotonic()
    with opened(file, config.conditions(items)) as journal:
        waiting = [task for task in tasks if _key(task) not in journal.done]
        queue = Queue(waiting, lambda task: task[0], lambda task: False)
        many = processes > 1 and bool(waiting)
        begin = functools.partial(measuring, None if many else loaded, many, config)
        results = parallel(begin, queue, min(processes, len(waiting))) if many else inline(begin, queue)
        with closing(results) as lines:
            for done in ticker(lines, len(waiting), len(tasks)):
                journal.add(done)
        finished = [journal.done[_key(task)] for task in tasks]
    seconds: dict[str, float] = {}
    for done in finished:
        seconds[done.part] = round(seconds.get(done.part, 0.0) + done.seconds, 3)
    return {
        **summarise(Scores(groups, finished, config.seed), plan),
        "core_seconds": {"all": round(sum(seconds.values()), 1), "parts": seconds},
        "wall_seconds_of_the_last_call": round(time.monotonic() - started, 1),
    }


def _key(task: Task) -> tuple[int, str, str]:
    number, part = task
    return number, part.name, part.digest
