"""`todre eval`: tasks × methods × budgets, compared with no pruning.

The same command resumes a run that was stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from todre.cli import evaluate_options as ask
from todre.cli import options as opt
from todre.cli.budget_options import EvalRetains, parse_auto_retains
from todre.cli.command_line import command_line
from todre.cli.console import note, show, show_json, show_text, working
from todre.cli.evaluate_options import AnsweringOptions
from todre.cli.ignored_options import check_taken
from todre.cli.method_names import files_among, named_methods
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import usage
from todre.cli.picture_guard import GuardName, guard_files, guard_of
from todre.methods.guard import OFF

if TYPE_CHECKING:
    from todre.evaluate.engine import Ran, Ticker
    from todre.evaluate.grid import Grid
    from todre.evaluate.journal import Done


def evaluate(
    tasks: ask.Tasks = ask.TASKS,
    methods: opt.MethodNames = ask.METHODS,
    retain: EvalRetains = ask.RETAINS,
    draws: ask.Draws = 3,
    against: ask.Against = None,
    leave_out: ask.LeaveOut = False,
    guard: GuardName = OFF,
    output: ask.Output = ask.FOLDER,
    model: ModelOptions = ModelOptions(),
    limit: ask.Limit = None,
    seed: ask.Seed = 0,
    processes: ask.Processes = 1,
    answering: AnsweringOptions = AnsweringOptions(),
    reporting: Reporting = Reporting(),
) -> None:
    """Answer tasks under methods and budgets, each compared with no pruning.

    All methods answer the same questions, so that comparisons are paired.
    """
    from todre.evaluate.engine import check_run, run
    from todre.evaluate.eval_config import EvalConfig
    from todre.evaluate.grid import grid
    from todre.evaluate.tasks import SUFFIX

    if answering.size != AnsweringOptions().size and all(task.endswith(SUFFIX) for task in tasks):
        raise typer.BadParameter("--size is of generated pictures, and files bring their own; leave it out.")
    check_run(output, (*files_among(methods), *guard_files(guard)))
    watching = guard_of(guard)
    named, everything = named_methods(methods)
    forgiving = everything or leave_out
    if retain != parse_auto_retains(ask.RETAINS):
        check_taken(named, "--retain", retain, reporting.quiet)
    with usage():
        planned = grid(named, retain, draws, seed, forgiving)
    _check_against(against or (), planned)
    started = time.monotonic()
    with working(reporting.silent):
        config = EvalConfig(
            tasks=tuple(tasks),
            limit=limit,
            seed=seed,
            guard=None if watching is None else watching.to_dict(),
            **dataclasses.asdict(model),
            **dataclasses.asdict(answering),
        )
        ran = run(
            config, planned, output, processes=processes, forgiving=forgiving,
            ticker=progress_bar(reporting.quiet), against=against or (),
        )  # fmt: skip
    _write_timings(output, ran, processes, time.monotonic() - started)
    _show(ran, output, reporting)


def _show(ran: Ran, output: Path, reporting: Reporting) -> None:
    """Show the result of a run: the document with --json, else a table."""
    if reporting.json:
        show_json(ran.result)
        return
    from todre.cli.evaluate_tables import evaluation_table

    show(evaluation_table(ran.result))
    for name, reason in ran.result["left_out"].items():
        show_text(f"{name} is left out: {reason}")
    note(f"wrote {output}/result.json, samples.jsonl, items.jsonl and timings.json", reporting.quiet)
    if ran.left:
        few = ", ".join(ran.left[:4]) + (f" and {len(ran.left) - 4} more" if len(ran.left) > 4 else "")
        note(
            f"{output} also keeps answers of {few}; to have them in result.json, name their methods and budgets too",
            reporting.quiet,
        )


def _check_against(names: tuple[str, ...], planned: Grid) -> None:
    """Raise unless each name of --against is a method of the run."""
    known = list(dict.fromkeys(row.name for row in planned.rows))
    strange = [name for name in names if name not in known]
    if strange:
        raise typer.BadParameter(
            f"--against names {strange[0]!r}, which is not evaluated here; name it with --methods too, or use some of "
            f"{', '.join(known)}."
        )


def progress_bar(quiet: bool) -> Ticker:
    """Show a progress bar with the time left on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)

    def ticker(lines: Iterable[Done], left: int, total: int) -> Iterable[Done]:
        hidden = quiet or not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
            task = bar.add_task("answering", total=total, completed=total - left)
            for done in lines:
                yield done
                bar.update(task, advance=1, description=done.unit.condition)

    return ticker


def _write_timings(output: Path, ran: Ran, processes: int, wall: float) -> None:
    """Write times and processes, which may differ between runs with equal results."""
    import json
    import os
    import platform

    from todre.files import write_atomic

    questions = ran.result["questions"]
    document = {
        "command": command_line(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "processes": processes,
        "threads_per_process": 1 if processes > 1 else None,
        "answers_of_this_call": ran.answered,
        "wall_seconds_of_this_call": round(wall, 1),
        "processor_seconds": round(sum(ran.seconds.values()), 1),
        "about": "encoding is charged to the first condition that asks for it, and methods that can share a picture's "
        "run answer all its questions in one row, so these are no speeds of methods; `todre bench` measures those",
        "questions_per_processor_second": {
            name: round(questions / seconds, 2) for name, seconds in ran.seconds.items() if seconds
        },
    }
    write_atomic(output / "timings.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
