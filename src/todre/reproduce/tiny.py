"""Run of a table's methods and budgets on a small model of todre's own.

Scenes stand in for the benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError, TodreError
from todre.evaluate.engine import Ran, Ticker, run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import Grid, row_of
from todre.evaluate.tasks import names
from todre.evaluate.tasks.several import VIDEO
from todre.fields import Checked
from todre.fields.kinds import Count, Seed
from todre.files import new_folder
from todre.published import AVERAGE, Row
from todre.reproduce.benchmarks import Benchmark
from todre.reproduce.outcome import Measured
from todre.reproduce.subjects import Subject, subject, subjects
from todre.tiny import SHIPPED, SHIPPED_VIDEO, checkpoint_path

STATEMENT = (
    "The paper's numbers are of its models and benchmarks, ours of small models of this package, on "
    "drawn scenes. They cannot be compared as numbers; what can is the structure, and how much of its score without "
    "pruning each method keeps."
)


@dataclass(frozen=True)
class Tiny(Checked):
    """The settings of a run on a small model.

    Args:
        folder: folder of the reproduction; `todre eval`'s own folders lie below.
        model: name of the model; None for the one that ships whole, with its relative for clips.
        limit: questions of each task.
        processes, draws, seed: the options of `todre eval`.
        device, dtype, attn_implementation, trust_remote_code: as `todre.loading.model.load` takes them.
    """

    folder: Path
    model: str | None = None
    limit: Count = 40
    processes: Count = 1
    draws: Count = 3
    seed: Seed = 0
    device: str = "auto"
    dtype: str = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False


def stands_in(benchmarks: Sequence[Benchmark], small: str | None = None) -> dict[str, str]:
    """Tasks of scenes that stand in for benchmarks, by benchmark.

    Benchmarks without such a task, or without a small model to answer it, are left out.

    Args:
        benchmarks: the benchmarks of a table.
        small: name of the model; None for the one that ships whole, with its relative for clips.

    Raises:
        InvalidValueError: all benchmarks are left out.
    """
    found = {
        benchmark.name: benchmark.scenes
        for benchmark in benchmarks
        if benchmark.scenes in names() and _can_answer(benchmark.scenes, small)
    }
    if not found:
        raise InvalidValueError(
            f"No scenes and no model that ships stand in for {', '.join(each.name for each in benchmarks)}; "
            "give a model with -m."
        )
    return found


def answered(rows: Sequence[Row], tasks: Mapping[str, str], tiny: Tiny, ticker: Ticker) -> list[Ran]:
    """Answer the tasks with the small models under every method of the rows.

    A run that was stopped is resumed.

    Returns:
        One run for tasks on pictures and one for tasks on clips, where there are such tasks.

    Raises:
        TodreError: a model refuses the questions without any pruning.
    """
    made = tuple(row_of(one.name, one.retain, one.method, tiny.draws, tiny.seed) for one in subjects(rows))
    new_folder(tiny.folder)
    runs = []
    for model in dict.fromkeys(_model(task, tiny.model) for task in tasks.values()):
        mine = tuple(dict.fromkeys(task for task in tasks.values() if _model(task, tiny.model) == model))
        config = EvalConfig(
            mine,
            model,
            limit=tiny.limit,
            seed=tiny.seed,
            device=tiny.device,
            dtype=tiny.dtype,
            attn_implementation=tiny.attn_implementation,
            trust_remote_code=tiny.trust_remote_code,
        )
        folder = tiny.folder / ("eval-video" if model == SHIPPED_VIDEO else "eval")
        ran = run(config, Grid(made, {}), folder, processes=tiny.processes, forgiving=True, ticker=ticker)
        if "none" in ran.result["left_out"]:
            raise TodreError(ran.result["left_out"]["none"])
        runs.append(ran)
    return runs


def measured(
    rows: Sequence[Row], tasks: Mapping[str, str], runs: Sequence[Ran]
) -> tuple[list[Measured | None], list[str], list[dict[str, Any] | None]]:
    """Scores, reasons, and intervals of the average share, for each row.

    Scores are in percent, by benchmark. A reason says why a row has no scores.
    """
    values: list[Measured | None] = []
    reasons, intervals = [], []
    for row in rows:
        one = subject(row)
        found = [_of(one, ran) for ran in runs] if one is not None else []
        scores = {name: _score(task, found) for name, task in tasks.items()}
        known = {name: 100 * score for name, score in scores.items() if score is not None}
        refused = [ran.result["left_out"].get(one.key, "") for ran in runs] if one is not None else []
        values.append(known or None)
        reasons.append("; ".join(dict.fromkeys(filter(None, refused))))
        intervals.append(_interval(found[0]) if len(found) == 1 and found[0] is not None else None)
    return values, reasons, intervals


def _model(task: str, small: str | None) -> str | None:
    """The model that answers a task; None means the shipped model for pictures."""
    return SHIPPED_VIDEO if small is None and task.startswith(VIDEO) else small


def _can_answer(task: str, small: str | None) -> bool:
    """Whether a small model is there that takes a task's pictures or clips."""
    if small is not None:
        return not task.startswith(VIDEO)
    return checkpoint_path(_model(task, small) or SHIPPED).is_dir()


def _of(one: Subject, ran: Ran) -> dict[str, Any] | None:
    """A subject's row in a run."""
    rows: list[dict[str, Any]] = ran.result["rows"]
    return next((row for row in rows if (row["name"], row["retain"]) == (one.name, one.retain)), None)


def _score(task: str, found: Sequence[dict[str, Any] | None]) -> float | None:
    for row in found:
        if row is not None and task in row["tasks"]:
            score: float | None = row["tasks"][task]["value"]
            return score
    return None


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
