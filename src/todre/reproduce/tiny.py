"""A table's structure on the shipped model: the same methods and budgets, on scenes in place of the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.evaluate.engine import Asked, Ran, Ticker, run
from todre.evaluate.grid import Grid, row_of
from todre.evaluate.tasks import names
from todre.published import AVERAGE, Row
from todre.reproduce.benchmarks import Benchmark
from todre.reproduce.outcome import Measured
from todre.reproduce.subjects import Subject, subject, subjects

STATEMENT = (
    "The paper's numbers are of its models and benchmarks, ours of the small model that ships with the package, on "
    "drawn scenes. They cannot be compared as numbers; what can is the structure, and how much of its score without "
    "pruning each method keeps."
)


@dataclass(frozen=True)
class Tiny:
    """How the shipped model is asked.

    Args:
        folder: of the reproduction; `todre eval`'s own folder lies below.
        limit: questions of each task.
        processes, draws, seed: as `todre eval` takes them.
    """

    folder: Path
    limit: int = 40
    processes: int = 1
    draws: int = 3
    seed: int = 0


def stands_in(benchmarks: Sequence[Benchmark]) -> dict[str, str]:
    """The task of scenes for each benchmark that has one.

    Raises:
        InvalidValueError: none has.
    """
    found = {benchmark.name: benchmark.scenes for benchmark in benchmarks if benchmark.scenes in names()}
    if not found:
        raise InvalidValueError(
            f"No scenes stand in for {', '.join(each.name for each in benchmarks)}; name others with --benchmarks, "
            "or give a model with -m."
        )
    return found


def answered(rows: Sequence[Row], tasks: dict[str, str], tiny: Tiny, ticker: Ticker) -> Ran:
    """Ask the shipped model under every method of the rows; goes on where it was stopped."""
    made = [row_of(one.name, one.retain, one.method, tiny.draws, tiny.seed) for one in subjects(rows)]
    asked = Asked(tuple(dict.fromkeys(tasks.values())), limit=tiny.limit, seed=tiny.seed)
    folder = tiny.folder / "eval"
    return run(asked, Grid(tuple(made), {}), folder, processes=tiny.processes, forgiving=True, ticker=ticker)


def measured(
    rows: Sequence[Row], tasks: dict[str, str], ran: Ran
) -> tuple[list[Measured | None], list[str], list[dict[str, Any] | None]]:
    """For each row scores in percent by benchmark, why there are none, and the interval of its average share."""
    by_key = {(row["name"], row["retain"]): row for row in ran.result["rows"]}
    values: list[Measured | None] = []
    reasons, intervals = [], []
    for row in rows:
        one = subject(row)
        found = None if one is None else by_key.get((one.name, one.retain))
        intervals.append(None if found is None else _interval(found))
        reasons.append("" if found is not None or one is None else _reason(one, ran))
        if found is None:
            values.append(None)
            continue
        scores = {name: found["tasks"][task]["value"] for name, task in tasks.items()}
        values.append({name: 100 * score for name, score in scores.items() if score is not None})
    return values, reasons, intervals


def _reason(one: Subject, ran: Ran) -> str:
    return str(ran.result["left_out"].get(one.key, "it was left out"))


def _interval(row: dict[str, Any]) -> dict[str, Any] | None:
    against = row.get("against_none")
    if against is None or against["retention"]["low"] is None:
        return None
    return {edge: round(100 * against["retention"][edge], 2) for edge in ("low", "high")}


def with_intervals(rows: list[dict[str, Any]], intervals: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """The result's rows with the interval of each average share."""
    for row, interval in zip(rows, intervals, strict=True):
        if interval is not None and AVERAGE in row["shares"]:
            row["shares"][AVERAGE]["interval"] = interval
    return rows
