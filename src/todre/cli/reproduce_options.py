"""Options of `todre reproduce`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli.option_records import OptionRecord
from todre.cli.options import ModelOptions
from todre.cli.parsers import MOST, MOST_PROCESSES, MOST_SEED, number, one_of, parse_names
from todre.reproduce.subjects import BUDGETS

TINY = "tiny"


def parse_on(text: str) -> str:
    """The word tiny, which stands for the model that ships."""
    if text != TINY:
        raise typer.BadParameter(f"{text!r} is unknown; --on takes tiny, and any other model is given with -m.")
    return text


def parse_pair(text: str) -> tuple[str, str]:
    """A benchmark and its task, from `BENCHMARK=TASK` or `BENCHMARK=TASK:METRIC`."""
    name, equals, task = text.partition("=")
    if not equals or not name.strip() or not task.strip():
        raise typer.BadParameter(f"{text!r} points no benchmark at a task; write POPE=my_pope or POPE=my_pope:metric.")
    return name.strip(), task.strip()


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
        metavar="tiny",
        show_default=False,
        help="tiny: measure on the model that ships, with scenes in place of the benchmarks.",
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
    typer.Option("--limit", min=1, max=MOST, help="Questions of each task. Without it, all; with --on tiny 40."),
]
Benchmarks = Annotated[
    Any, typer.Option("--benchmarks", parser=parse_names, metavar="A,B,…", help="Only these benchmarks of the table.")
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
    int, typer.Option("--processes", min=1, max=MOST_PROCESSES, help="With --on tiny: processes that answer.")
]
Draws = Annotated[
    int, typer.Option("--draws", min=1, max=MOST, help="With --on tiny: runs of each method that chooses at random.")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MOST_SEED, help="With --on tiny: seed of the scenes and of the first draw.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=MOST, help="Questions answered together.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=MOST, help="Tables of cost: measurements of each row.")]
Questions = Annotated[
    Path | None,
    typer.Option("--questions", help="Figures: a file of your own questions, as `todre analyze` takes it."),
]


@dataclass(frozen=True)
class PaperModelOptions(ModelOptions):
    """Which model a table or figure is measured on: without --model the paper's own."""

    model: Model = None


@dataclass(frozen=True)
class ConsentOptions(OptionRecord):
    """Whether the work begins, and whether that is asked for first."""

    yes: Yes = False
    dry_run: DryRun = False


@dataclass(frozen=True)
class ScopeOptions(OptionRecord):
    """How much of a table or figure is measured."""

    limit: Limit = None
    benchmarks: Benchmarks = None


@dataclass(frozen=True)
class HarnessOptions(OptionRecord):
    """How lmms-eval measures the scores of a real model."""

    task_map: TaskMap = None
    include_path: IncludePath = None
    budget: Budget = "count"
    seconds_per_question: SecondsPerQuestion = None
    python: Python = None
    ranks: Ranks = 1

    @property
    def interpreter(self) -> str:
        """The Python that has lmms-eval: the one that was named, else this one."""
        return self.python or sys.executable

    @property
    def tasks(self) -> dict[str, str]:
        """By benchmark, the user's own task that it is measured on."""
        return dict(self.task_map or ())


@dataclass(frozen=True)
class ShippedOptions(OptionRecord):
    """How scores of the model that ships are measured, with --on tiny."""

    processes: Processes = 1
    draws: Draws = 3
    seed: Seed = 0


@dataclass(frozen=True)
class MeasureOptions(OptionRecord):
    """Batch size of questions, rounds of costs, and own questions of figures."""

    batch_size: BatchSize = 1
    rounds: Rounds = 3
    questions: Questions = None
