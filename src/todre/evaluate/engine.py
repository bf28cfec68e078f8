"""Runs of `todre eval`: tasks × methods × budgets, resumable after a kill.

A run has a folder: `answers.jsonl`, the working file; `items.jsonl`, the questions; `samples.jsonl`, a line for each
answer; `result.json`; and `timings.json`. All but `answers.jsonl` and `timings.json` are made from `answers.jsonl`,
in a fixed order. They do not depend on when or how often the run was stopped, or on how many processes answered.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.errors import InvalidValueError, TodreError
from todre.evaluate.conditions import NONE, Condition
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import Grid
from todre.evaluate.hard_split import hard_splits
from todre.evaluate.journal import WORKING, Done, Journal, Unit, opened
from todre.evaluate.summary import Sample, Summary, sample_of
from todre.evaluate.tasks import Item
from todre.evaluate.workers import Queue, Work, inline, parallel
from todre.files import check_folder, check_targets, new_folder, printable, write_atomic
from todre.methods.guard import Guard

if TYPE_CHECKING:
    from todre.loading.model import Loaded

ANSWERS = "answers.jsonl"
WRITTEN = ("items.jsonl", "samples.jsonl", "result.json", "timings.json")
"""Files that a run makes from its answers."""
Start = Callable[[EvalConfig], Work]
Ticker = Callable[[Iterable[Done], int, int], Iterable[Done]]
"""Shows progress on finished units and passes them on.

Called with (units, number of units left, number of units in all).
"""


@dataclass(frozen=True)
class Ran:
    """A finished run.

    Attributes:
        result: what `result.json` holds.
        seconds: processor time by condition, over all processes and interrupted runs.
        answered: number of answers that this call made.
        left: conditions of earlier calls whose answers the folder keeps, and the result leaves out.
    """

    result: dict[str, Any]
    seconds: dict[str, float]
    answered: int
    left: tuple[str, ...] = ()


def run(
    config: EvalConfig,
    grid: Grid,
    output: Path,
    *,
    processes: int = 1,
    forgiving: bool = False,
    ticker: Ticker = lambda lines, left, total: lines,
    loaded: Loaded | None = None,
    start: Start | None = None,
    against: Sequence[str] = (),
) -> Ran:
    """Answer the questions that have no answer yet, and write the result.

    Args:
        config: questions and model.
        grid: methods and budgets; a finished run can be continued with more of them.
        output: the run's folder; its parent exists.
        processes: number of processes; more than one answer in parallel, each with its own model on one thread.
        forgiving: whether to leave out methods that refuse, noting the reason, instead of raising. Methods that
            resize pictures are always left out where no smaller size meets the budget.
        ticker: shows progress.
        loaded: the model, to use when `processes` is 1.
        start: makes, in each process, the function that answers units; None means `answering`.
        against: methods of the grid with which all others are also compared, at each budget.

    Raises:
        InvalidValueError: the folder belongs to a run under other conditions, or a value cannot be used.
        TodreError: a method refuses this model or these questions, and is not left out; no pruning never is, as all
            are compared with it.
    """
    if processes < 1:
        raise InvalidValueError(f"processes must be a whole number of at least 1, not {processes!r}.")
    strange = [name for name in against if name not in {row.name for row in grid.rows}]
    if strange:
        raise InvalidValueError(f"No method {strange[0]!r} is evaluated to compare others with; name it among them.")
    check_run(output, config.files())
    items = config.items()
    groups = grouped(items, config.group_size)
    new_folder(output)
    with opened(output / ANSWERS, config.conditions(items)) as journal:
        units = {
            Unit(group, condition.name, _digest(condition)): condition
            for group in range(len(groups))
            for condition in grid.conditions
        }
        _check_lengths(journal, groups, output / ANSWERS)
        journal.forget_refusals()  # what refused may take these questions by now
        before = len(journal.done)
        alone = processes == 1
        begin = functools.partial(start or functools.partial(answering, loaded if alone else None, not alone), config)
        _answer(journal, units, begin, processes, forgiving, ticker)
        new = list(journal.done.values())[before:]
        earlier = {unit.condition for unit in journal.done} - {unit.condition for unit in units}
        result, lines = _collect(journal, grid, items, groups, config, against)
    write_atomic(output / "items.jsonl", "".join(_line(item.facts()) for item in items))
    write_atomic(output / "samples.jsonl", "".join(lines))
    write_atomic(output / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    seconds = {c.name: sum(journal.done[u].seconds for u in units if u.condition == c.name and u in journal.done)
               for c in grid.conditions}  # fmt: skip
    return Ran(result, seconds, sum(len(done.replies) for done in new), tuple(sorted(earlier)))


def check_run(folder: Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise unless a run can be written, or continued, in `folder`.

    Raises:
        OutputError: `folder` holds files that do not belong to a run, or an input of the run.
    """
    files = [folder / name for name in (ANSWERS, *WRITTEN)]
    if os.path.lexists(folder):
        check_folder(folder)
        check_targets(files, inputs, force=os.path.lexists(files[0]), option=False)
    else:
        check_folder(folder.parent)


def _check_lengths(journal: Journal, groups: Sequence[Sequence[int]], file: Path) -> None:
    """Raise if a finished unit has fewer or more answers than its group has questions."""
    for unit, done in journal.done.items():
        count = len(groups[unit.group]) if unit.group < len(groups) else 0
        if not done.refused and len(done.replies) != count:
            raise WORKING.wrong(
                file,
                f"has {len(done.replies)} answers of {printable(unit.condition)} to group {unit.group}, "
                f"which has {count}",
            )


def grouped(items: Sequence[Item], group_size: int) -> list[list[int]]:
    """0-based indices of the items of each group of `group_size` pictures.

    Pictures come in the order of their first question.
    """
    by_picture: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        by_picture.setdefault(item.picture, []).append(place)
    pictures = list(by_picture.values())
    return [
        sorted(place for picture in pictures[start : start + group_size] for place in picture)
        for start in range(0, len(pictures), group_size)
    ]


def _answer(
    journal: Journal,
    units: dict[Unit, Condition],
    start: Callable[[], Work],
    processes: int,
    forgiving: bool,
    ticker: Ticker,
) -> None:
    refused = {d.unit.digest: d.unit.group for d in journal.done.values() if d.refused}

    def unwanted(task: tuple[Unit, Condition]) -> bool:
        """True if the method refused an earlier group, which makes this task pointless.

        Groups before the refused one are still answered, so that the reported reason is always the first refusal's.
        """
        return refused.get(task[0].digest, task[0].group) < task[0].group

    waiting = [task for task in units.items() if task[0] not in journal.done and not unwanted(task)]
    queue = Queue(waiting, lambda task: task[0].group, unwanted)
    many = processes > 1 and bool(waiting)
    results = parallel(start, queue, min(processes, len(waiting))) if many else inline(start, queue)
    with closing(results) as lines:
        for done in ticker(lines, len(waiting), len(units)):
            if done.refused:
                asked = units[done.unit]
                if asked == NONE or (not forgiving and not asked.method.in_pixels):
                    raise TodreError(f"{done.unit.condition} cannot be evaluated: {done.refused}")
                earliest = min(done.unit.group, refused.get(done.unit.digest, done.unit.group))
                refused[done.unit.digest] = earliest
            journal.add(done)


def answering(loaded: Loaded | None, single: bool, config: EvalConfig) -> Work:
    """A worker that answers one unit, with the model in memory.

    Args:
        loaded: the model; None loads it.
        single: keep this process on one thread.
        config: questions and model.
    """
    import torch

    from todre.evaluate.group_answers import Asker

    if single:
        torch.set_num_threads(1)
    items = config.items()
    groups = [[items[place] for place in places] for places in grouped(items, config.group_size)]
    guard = None if config.guard is None else Guard.from_dict(config.guard)
    asker = Asker(loaded or config.load(), groups, config.batch_size, guard)

    def work(task: tuple[Unit, Condition]) -> Done:
        unit, condition = task
        try:
            replies, seconds = asker.answer(unit.group, condition)
        except TodreError as error:
            return Done(unit, 0.0, [], str(error))
        return Done(unit, round(seconds, 3), [list(each) for each in replies])

    return work


def _collect(
    journal: Journal,
    grid: Grid,
    items: Sequence[Item],
    groups: Sequence[Sequence[int]],
    config: EvalConfig,
    against: Sequence[str],
) -> tuple[dict[str, Any], list[str]]:
    """The result, and a line of `samples.jsonl` for each answer.

    Both follow the order of the grid and the items.
    """
    summary = Summary(items, config.seed)
    left_out, answered, lines = dict(grid.left_out), [], []
    for row in grid.rows:
        done = [
            [journal.done.get(Unit(group, c.name, _digest(c))) for group in range(len(groups))] for c in row.conditions
        ]
        reasons = [each.refused for draw in done for each in draw if each is not None and each.refused]
        if reasons:
            left_out[row.label] = reasons[0]
            continue
        answered.append((row, [_samples(draw, items, groups) for draw in done]))
        lines += [
            _line({"condition": condition.name, "task": item.task, "id": item.id, **asdict(sample)})
            for condition, samples in zip(row.conditions, answered[-1][1], strict=True)
            for item, sample in zip(items, samples, strict=True)
        ]
    for row, draws in answered:
        if row.name in against:
            summary.keep(row, draws)
    rows = [summary.row(row, draws) for row, draws in answered]
    splits = hard_splits(items, answered)
    tasks = {task: {"metric": items[places[0]].metric, "questions": len(places)}
             for task, places in zip(summary.tasks, summary.places, strict=True)}  # fmt: skip
    result = {
        "what": "answers of a model under pruning methods",
        "conditions": config.conditions(items) | {"mode": "drop", "decoding": "greedy"},
        "tasks": tasks,
        "questions": len(items),
        "pictures": len({item.picture for item in items}),
        "bootstrap": {"resamples": summary.resamples, "seed": config.seed, "clusters": "pictures"},
        "rows": rows,
        "left_out": left_out,
    } | ({"hard_splits": splits} if splits else {})
    return result, lines


def _samples(draw: Sequence[Done | None], items: Sequence[Item], groups: Sequence[Sequence[int]]) -> list[Sample]:
    """The samples of all items under one condition."""
    replies = {
        place: each.replies[number]
        for each, places in zip(draw, groups, strict=True)
        if each is not None
        for number, place in enumerate(places)
    }
    return [sample_of(item, replies[place]) for place, item in enumerate(items)]


def _digest(condition: Condition) -> str:
    return hashlib.sha256(json.dumps(condition.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"
