"""A table of scores on a real model, cell by cell through lmms-eval.

Finished cells are not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from todre.errors import TodreError
from todre.published import SECONDS, Row, Table
from todre.reproduce.benchmarks import Benchmark
from todre.reproduce.cells import Cell, Run, finished, measure
from todre.reproduce.outcome import Measured
from todre.reproduce.plan import duration
from todre.reproduce.subjects import Subject, subject

Say = Callable[[str], None]
Found = dict[str, Any]
"""Numbers of a finished cell: `metrics`, `questions`, `seconds`."""


def run_cells(cells: Sequence[Cell], run: Run, say: Say) -> tuple[dict[Cell, Found], dict[Cell, str]]:
    """Run the cells that are not finished.

    Returns (numbers of each finished cell, the error of each failed cell).

    Raises:
        TodreError: the cell without pruning failed on a task, so that nothing could be compared.
    """
    known: dict[Cell, Found] = {}
    failed: dict[Cell, str] = {}
    for number, cell in enumerate(cells, start=1):
        found = finished(cell, run)
        if found is None:
            say(f"cell {number} of {len(cells)}: {cell.subject.key} on {cell.task}{_left(cells[number - 1 :], known)}")
            try:
                found = measure(cell, run)
            except TodreError as error:
                if cell.subject.name == "none":
                    raise
                failed[cell] = str(error)
                continue
        known[cell] = found
    return known, failed


def _left(cells: Sequence[Cell], known: Mapping[Cell, Found]) -> str:
    """Text of the time left, at the pace of finished cells of the same tasks."""
    seconds = {cell.task: found["seconds"] for cell, found in known.items()}
    if not seconds or any(cell.task not in seconds for cell in cells):
        return ""
    return f", about {duration(sum(seconds[cell.task] for cell in cells))} left"


def measured(
    table: Table,
    rows: Sequence[Row],
    benchmarks: Sequence[Benchmark],
    known: Mapping[Cell, Found],
    failed: Mapping[Cell, str],
    budget: str,
) -> tuple[list[Measured | None], list[str]]:
    """Values of each row, and for each row the reason if it has no values."""
    values: list[Measured | None] = []
    reasons = []
    for row in rows:
        one = subject(row, budget)
        found = {} if one is None else _scores(one, benchmarks, known)
        if one is not None and SECONDS in table.columns and len(found) == len(benchmarks):
            found[SECONDS] = sum(each["seconds"] for each in _cells(one, benchmarks, known))
        values.append(found or None)
        reasons.append("" if one is None else _reason(one, failed))
    return values, reasons


def _scores(one: Subject, benchmarks: Sequence[Benchmark], known: Mapping[Cell, Found]) -> dict[str, float]:
    """A subject's scores by benchmark, for benchmarks whose tasks are all finished."""
    found = {}
    for benchmark in benchmarks:
        cells = {task: known.get(Cell(one, task)) for task in benchmark.tasks}
        there = {task: cell for task, cell in cells.items() if cell is not None}
        if len(there) == len(cells):
            metrics = {task: cell["metrics"] for task, cell in there.items()}
            counts = {task: cell["questions"] for task, cell in there.items()}
            found[benchmark.name] = benchmark.score(metrics, counts)
    return found


def _cells(one: Subject, benchmarks: Sequence[Benchmark], known: Mapping[Cell, Found]) -> list[Found]:
    tasks = dict.fromkeys(task for benchmark in benchmarks for task in benchmark.tasks)
    return [known[Cell(one, task)] for task in tasks]


def _reason(one: Subject, failed: Mapping[Cell, str]) -> str:
    """Why a subject's cells failed, with their tasks."""
    return "; ".join(f"{cell.task}: {why}" for cell, why in failed.items() if cell.subject == one)
