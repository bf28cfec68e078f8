"""`todre reproduce`: the papers' tables and figures again, published beside measured."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli import options as opt
from todre.cli.console import check_directory, show, show_json, show_text
from todre.errors import InvalidValueError
from todre.reproduce.recipes import Recipe, recipe, recipes
from todre.reproduce.subjects import BUDGETS

TINY = "tiny"


@dataclass(frozen=True)
class Given:
    """The options as they were given, for the routes that a recipe can take."""

    recipe: Recipe
    model: str | None
    tiny: bool
    output: Path
    yes: bool
    dry_run: bool
    limit: int | None
    benchmarks: tuple[str, ...]
    task_map: dict[str, str]
    include_path: Path | None
    budget: str
    seconds_per_question: float | None
    python: str
    ranks: int
    processes: int
    draws: int
    seed: int
    batch_size: int
    rounds: int
    questions: Path | None
    device: str
    dtype: str
    attn_implementation: str | None
    trust_remote_code: bool
    json: bool
    quiet: bool


def parse_on(text: str) -> str:
    """The one place that is no model of one's own."""
    if text != TINY:
        raise typer.BadParameter(f"{text!r} is unknown; --on takes tiny, and any other model is given with -m.")
    return text


def parse_budget(text: str) -> str:
    """`count` or `share`."""
    if text not in BUDGETS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(BUDGETS)}.")
    return text


def parse_names(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_pair(text: str) -> tuple[str, str]:
    """`BENCHMARK=TASK` or `BENCHMARK=TASK:METRIC`."""
    name, equals, task = text.partition("=")
    if not equals or not name.strip() or not task.strip():
        raise typer.BadParameter(f"{text!r} points no benchmark at a task; write POPE=my_pope or POPE=my_pope:metric.")
    return name.strip(), task.strip()


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A table or figure; without it, all are listed.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help="Folder or hub id of a model. Without it, the paper's own."),
    ] = None,
    on: Annotated[
        Any,
        typer.Option(
            "--on",
            parser=parse_on,
            metavar="tiny",
            show_default=False,
            help="Now, on the model that ships, with scenes in place of the benchmarks.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder; the same command goes on where it was stopped. Without it, its name."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and stop.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Questions of each task. Without it, all; with --on tiny 40."),
    ] = None,
    benchmarks: Annotated[
        Any, typer.Option("--benchmarks", parser=parse_names, metavar="A,B,…", help="Some of the table's alone.")
    ] = None,
    task_map: Annotated[
        list[Any] | None,
        typer.Option(
            "--task-map",
            parser=parse_pair,
            metavar="BENCHMARK=TASK[:METRIC]",
            help="Measure a benchmark on a task of one's own; can be given several times.",
        ),
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option("--include-path", help="Folder of further tasks, as lmms-eval takes it.")
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            parser=parse_budget,
            metavar="KIND",
            help="count: the printed numbers of visual tokens; share: their shares of what each picture has.",
        ),
    ] = "count",
    seconds_per_question: Annotated[
        float | None,
        typer.Option("--seconds-per-question", min=0.0, help="For the estimate of time. Without it, a paper's."),
    ] = None,
    python: Annotated[
        str | None, typer.Option("--python", help="The Python that has lmms-eval and todre. Without it, this one.")
    ] = None,
    ranks: Annotated[int, typer.Option("--ranks", min=1, help="GPUs that share the questions of a benchmark.")] = 1,
    processes: Annotated[int, typer.Option("--processes", min=1, help="With --on tiny: processes that answer.")] = 1,
    draws: Annotated[int, typer.Option("--draws", min=1, help="With --on tiny: runs of what chooses at random.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With --on tiny: which scenes.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Questions answered together.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Of tables of cost: measurements of a row.")] = 3,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="Of figures: own questions, as `todre analyze` takes them."),
    ] = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure a paper's table or figure again: published, measured and the difference, with what is known of a cell.

    Scores run through lmms-eval, costs as in todre bench, figures as in todre analyze.
    """
    if name is None or listed:
        _list(json)
        return
    found = recipe(name)
    if on is not None and model is not None:
        raise InvalidValueError(f"--on {on} and -m {model} are two models; give one.")
    folder = output or Path(f"todre-{found.name}")
    check_directory(folder.parent)
    given = Given(
        found, model, on is not None, folder, yes, dry_run, limit, benchmarks or (), dict(task_map or ()), include_path,
        budget, seconds_per_question, python or sys.executable, ranks, processes, draws, seed, batch_size, rounds,
        questions, device, dtype, attn_implementation, trust_remote_code, json, quiet,
    )  # fmt: skip
    from todre.cli.reproduce_routes import follow

    follow(given)


def _list(json: bool) -> None:
    from rich import box
    from rich.table import Table

    if json:
        show_json([{"name": each.name, "title": each.title, "paper": each.paper, "kind": each.kind}
                   for each in recipes()])  # fmt: skip
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("recipe", "what it shows", "paper"):
        table.add_column(heading, no_wrap=heading == "recipe")
    for each in recipes():
        table.add_row(each.name, each.title, each.paper)
    show(table)
    show_text("todre reproduce RECIPE --on tiny runs one now; --dry-run says what it takes on a real model.")
