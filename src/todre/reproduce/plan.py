"""Plan of a reproduction: what it would run and download, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from todre.hub import decimal_bytes
from todre.reproduce.benchmarks import Benchmark
from todre.reproduce.cells import Cell, Run, finished
from todre.reproduce.subjects import Rows, Subject

PACE = 1 / 1.5
"""Seconds per question without pruning, as the paper reports them.

The paper measured it on one RTX 3090 (version 1, table 3).
"""


@dataclass(frozen=True)
class Plan:
    """The cells of a reproduction, and how long the missing ones take.

    Attributes:
        cells: all cells.
        missing: cells that are not finished.
        questions: number of questions in the missing cells; None if a task's number is not known.
        pace: seconds per question.
        basis: text on where the pace comes from.
    """

    cells: tuple[Cell, ...]
    missing: tuple[Cell, ...]
    questions: int | None
    pace: float
    basis: str

    @property
    def seconds(self) -> float | None:
        """Seconds for the missing cells; None if the number of questions is not known."""
        return None if self.questions is None else self.questions * self.pace


def plan(cells: Sequence[Cell], benchmarks: Sequence[Benchmark], run: Run, pace: float | None = None) -> Plan:
    """Make the plan; its pace is `pace`, or the finished cells', or the paper's."""
    done = {cell: finished(cell, run) for cell in cells}
    missing = tuple(cell for cell, found in done.items() if found is None)
    counts = {part.task: part.questions for benchmark in benchmarks for part in benchmark.parts}
    questions: int | None = 0
    for cell in missing:
        there = counts[cell.task] if counts[cell.task] is not None else run.limit
        if there is None or questions is None:
            questions = None
            continue
        questions += there if run.limit is None else min(there, run.limit)
    known = [found for found in done.values() if found is not None]
    if pace is not None:
        return Plan(tuple(cells), missing, questions, pace, "as --seconds-per-question says")
    if known:
        mean = sum(found["seconds"] for found in known) / sum(found["questions"] for found in known)
        return Plan(tuple(cells), missing, questions, mean, f"of {len(known)} finished cells, loading included")
    return Plan(
        tuple(cells), missing, questions, PACE,
        "what the paper reports for LLaVA-NeXT-7B without pruning on one RTX 3090; another machine or model can be "
        "many times slower or faster, and the first finished cell will tell",
    )  # fmt: skip


def lines(
    planned: Plan, rows: Rows, subjects: Sequence[Subject], benchmarks: Sequence[Benchmark], run: Run
) -> list[str]:
    """The plan as lines of text."""
    left_out = [row for row in rows.rows if row.reason]
    text = [
        f"model: {run.model}",
        f"methods: {', '.join(subject.key for subject in subjects)}",
        *(f"left out: {row.title}, because {row.reason}" for row in left_out),
        "benchmarks, by task of lmms-eval:",
        *(f"  {_benchmark(benchmark, run.limit)}" for benchmark in benchmarks),
        f"{len(planned.cells)} cells (a method on a task), {len(planned.missing)} of them not finished",
        f"downloads: {_model(run.model)}; questions of {_data(benchmarks)} (size unknown; lmms-eval fetches them)",
        f"time: {_time(planned)}",
        f"results: {run.folder}/result.json and table.md",
    ]
    return [*text, *(f"warning: {warning}" for warning in rows.warnings)]


def duration(seconds: float) -> str:
    """A time as text, such as `40 s`, `12 min`, `3.5 h` or `4.2 days`."""
    for most, unit, size in ((90.0, "s", 1.0), (5400.0, "min", 60.0), (172_800.0, "h", 3600.0)):
        if seconds < most:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.2g} days"


def _benchmark(benchmark: Benchmark, limit: int | None) -> str:
    count = benchmark.questions
    questions = "as many questions as it has" if count is None else f"{count:,} questions"
    if limit is not None:
        questions = f"the first {limit} questions of each task"
    metric = ", ".join(dict.fromkeys(part.metric or "its only metric" for part in benchmark.parts))
    return f"{benchmark.name}: {', '.join(benchmark.tasks)} ({metric}), {questions}{_noted(benchmark)}"


def _noted(benchmark: Benchmark) -> str:
    return f"; {benchmark.note}" if benchmark.note else ""


def _model(model: str) -> str:
    folder = Path(model).expanduser()
    if folder.is_dir():
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        return f"nothing for the model, which is a folder here ({decimal_bytes(size)})"
    return f"{model}, unless the hub's cache has it (its size is said before the download starts)"


def _data(benchmarks: Sequence[Benchmark]) -> str:
    return ", ".join(dict.fromkeys(benchmark.data for benchmark in benchmarks))


def _time(planned: Plan) -> str:
    if not planned.missing:
        return "nothing is left to run"
    pace = f"{planned.pace:.2g} s a question ({planned.basis})"
    if planned.seconds is None:
        return f"{pace}, for a number of questions that is not known"
    loading = f", and loading the model {len(planned.missing)} times"
    return f"about {duration(planned.seconds)} for {planned.questions:,} answers at {pace}{loading}"
