"""Options of `todre reproduce`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli.option_records import OptionRecord
from todre.cli.options import ModelOptions
from todre.cli.parsers import MOST, MOST_PROCESSES, MOST_SEED, number, one_of, parse_names, usage
from todre.reproduce.subjects import BUDGETS, check_beside
from todre.smol.parts import names as smol_names

TINY = "tiny"
SMALL = (TINY, *smol_names())
"""Words for the small models whose scenes stand in for the benchmarks."""


def parse_on(text: str) -> str:
    """Parse the word that stands for one of todre's own small models."""
    if text not in SMALL:
        raise typer.BadParameter(
            f"{text!r} is unknown; --on takes {', '.join(SMALL)}, and any other model is given with -m."
        )
    return text


def parse_pair(text: str) -> tuple[str, str]:
    """Parse `BENCHMARK=TASK` or `BENCHMARK=TASK:METRIC` into benchmark and task."""
    name, equals, task = text.partition("=")
    if not equals or not name.strip() or not task.strip():
        raise typer.BadParameter(f"{text!r} points no benchmark at a task; write POPE=my_pope or POPE=my_pope:metric.")
    return name.strip(), task.strip()


def parse_beside(text: str) -> tuple[str, ...]:
    """Parse methods with a budget, separated by commas."""
    names = parse_names(text)
    with usage():
        for name in names:
            check_beside(name)
    return names


def refuse_folder(name: str) -> None:
    """Raise if a folder here would be taken for the model of this name."""
    if name != TINY and os.path.lexists(name):
        raise typer.BadParameter(
            f"{name} is also a folder or file here, which would be taken in place of todre's own model; run this "
            "somewhere else, or name yours with -m."
        )


Name = Annotated[str | None, typer.Argument(metavar="RECIPE", help="A table or figure. Without it, all are listed.")]
Listed = Annotated[bool, typer.Option("--list", help="List the recipes.")]
Model = Annotated[
    str | None,
    typer.Option("-m", "--model", help="Folder or hub id of a model. Without it, the paper's own."),
]
On = Annotated[
    Any,
    typer.Option(
        "--on",
        parser=parse_on,
        metavar="NAME",
        show_default=False,
        help="tiny, smol or smol-1: measure on this model of todre's own, with scenes in place of the benchmarks.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Folder of the result; the same command resumes it. Without it, todre-RECIPE."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Begin without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be run, and stop.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, max=MOST, help="Questions of each task. Without it, all; with --on 40."),
]
Benchmarks = Annotated[
    Any, typer.Option("--benchmarks", parser=parse_names, metavar="A,B,…", help="Only these benchmarks of the table.")
]
Beside = Annotated[
    Any,
    typer.Option(
        "--beside",
        parser=parse_beside,
        metavar="A,B,…",
        help="Further methods, such as downsample, at each of the table's budgets.",
    ),
]
TaskMap = Annotated[
    list[Any] | None,
    typer.Option(
        "--task-map",
        parser=parse_pair,
        metavar="BENCHMARK=TASK[:METRIC]",
        help="Measure a benchmark on your own task of lmms-eval; can be given several times.",
    ),
]
IncludePath = Annotated[Path | None, typer.Option("--include-path", help="Folder with further tasks of lmms-eval.")]
Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        parser=one_of(*BUDGETS),
        metavar="KIND",
        help="count: the printed numbers of visual tokens; share: their shares of what each picture has.",
    ),
]
SecondsPerQuestion = Annotated[
    Any,
    typer.Option(
        "--seconds-per-question",
        parser=number(0.0),
        metavar="NUMBER",
        help="Pace for the estimate of time. Without it, that of finished cells, else the paper's.",
    ),
]
Python = Annotated[
    str | None, typer.Option("--python", help="The Python that has lmms-eval and todre. Without it, this one.")
]
Ranks = Annotated[int, typer.Option("--ranks", min=1, max=MOST, help="GPUs that share the questions of a benchmark.")]
Processes = Annotated[
    int, typer.Option("--processes", min=1, max=MOST_PROCESSES, help="With --on: processes that answer.")
]
Draws = Annotated[
    int, typer.Option("--draws", min=1, max=MOST, help="With --on: runs of each method that chooses at random.")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MOST_SEED, help="With --on: seed of the scenes and of the first draw.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=MOST, help="Questions answered together.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=MOST, help="Tables of cost: measurements of each row.")]
Questions = Annotated[
    Path | None,
    typer.Option("--questions", help="Figures: a file of your own questions, as `todre analyze` takes it."),
]


@dataclass(frozen=True)
class PaperModelOptions(ModelOptions):
    """Options of the model to measure; without --model, it is the paper's own."""

    model: Model = None


@dataclass(frozen=True)
class ConsentOptions(OptionRecord):
    """Options that say whether the work begins, and whether the user is asked."""

    yes: Yes = False
    dry_run: DryRun = False


@dataclass(frozen=True)
class ScopeOptions(OptionRecord):
    """Options that say how much of a table or figure is measured."""

    limit: Limit = None
    benchmarks: Benchmarks = None
    beside: Beside = None


@dataclass(frozen=True)
class HarnessOptions(OptionRecord):
    """Options for lmms-eval, which measures the scores of a real model."""

    task_map: TaskMap = None
    include_path: IncludePath = None
    budget: Budget = "count"
    seconds_per_question: SecondsPerQuestion = None
    python: Python = None
    ranks: Ranks = 1

    @property
    def interpreter(self) -> str:
        """The Python that has lmms-eval: the user's choice, else the running Python."""
        return self.python or sys.executable

    @property
    def tasks(self) -> dict[str, str]:
        """The user's own tasks of lmms-eval, by benchmark."""
        return dict(self.task_map or ())


@dataclass(frozen=True)
class ShippedOptions(OptionRecord):
    """Options for scores of a small model, with --on."""

    processes: Processes = 1
    draws: Draws = 3
    seed: Seed = 0


@dataclass(frozen=True)
class MeasureOptions(OptionRecord):
    """Options for batch size, rounds of costs, and a figure's own questions."""

    batch_size: BatchSize = 1
    rounds: Rounds = 3
    questions: Questions = None
