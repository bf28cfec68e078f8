"""Options of `todre reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli import options as opt
from todre.cli.options import parse_names
from todre.reproduce.subjects import BUDGETS

TINY = "tiny"


def parse_on(text: str) -> str:
    """The one place that is no model of one's own."""
    if text != TINY:
        raise typer.BadParameter(f"{text!r} is unknown; --on takes tiny, and any other model is given with -m.")
    return text


def parse_pair(text: str) -> tuple[str, str]:
    """`BENCHMARK=TASK` or `BENCHMARK=TASK:METRIC`."""
    name, equals, task = text.partition("=")
    if not equals or not name.strip() or not task.strip():
        raise typer.BadParameter(f"{text!r} points no benchmark at a task; write POPE=my_pope or POPE=my_pope:metric.")
    return name.strip(), task.strip()


Name = Annotated[str | None, typer.Argument(metavar="RECIPE", help="A table or figure; without it, all are listed.")]
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
        help="Now, on the model that ships, with scenes in place of the benchmarks.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Folder; the same command goes on where it was stopped. Without it, its name."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Begin without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and stop.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, max=opt.MOST, help="Questions of each task. Without it, all; with --on tiny 40."),
]
Benchmarks = Annotated[
    Any, typer.Option("--benchmarks", parser=parse_names, metavar="A,B,…", help="Some of the table's alone.")
]
TaskMap = Annotated[
    list[Any] | None,
    typer.Option(
        "--task-map",
        parser=parse_pair,
        metavar="BENCHMARK=TASK[:METRIC]",
        help="Measure a benchmark on a task of one's own; can be given several times.",
    ),
]
IncludePath = Annotated[
    Path | None, typer.Option("--include-path", help="Folder of further tasks, as lmms-eval takes it.")
]
Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        parser=opt.one_of(*BUDGETS),
        metavar="KIND",
        help="count: the printed numbers of visual tokens; share: their shares of what each picture has.",
    ),
]
SecondsPerQuestion = Annotated[
    Any,
    typer.Option(
        "--seconds-per-question",
        parser=opt.number(0.0),
        metavar="NUMBER",
        help="For the estimate of time. Without it, a paper's.",
    ),
]
Python = Annotated[
    str | None, typer.Option("--python", help="The Python that has lmms-eval and todre. Without it, this one.")
]
Ranks = Annotated[
    int, typer.Option("--ranks", min=1, max=opt.MOST, help="GPUs that share the questions of a benchmark.")
]
Processes = Annotated[
    int, typer.Option("--processes", min=1, max=opt.MOST_PROCESSES, help="With --on tiny: processes that answer.")
]
Draws = Annotated[
    int, typer.Option("--draws", min=1, max=opt.MOST, help="With --on tiny: runs of what chooses at random.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=opt.MOST_SEED, help="With --on tiny: which scenes.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=opt.MOST, help="Questions answered together.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=opt.MOST, help="Of tables of cost: measurements of a row.")]
Questions = Annotated[
    Path | None,
    typer.Option("--questions", help="Of figures: own questions, as `todre analyze` takes them."),
]
