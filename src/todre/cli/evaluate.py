"""`todre eval`: tasks × methods × budgets, with retention against no pruning; resumable."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todre.cli import options as opt
from todre.cli.console import check_directory, note, show, show_json, show_text, working

if TYPE_CHECKING:
    from todre.evaluate.engine import Ran, Ticker
    from todre.evaluate.journal import Done

TASKS = "scenes"
RETAINS = "0.25,0.1,0.05"
METHODS = "todre,todre-v1,random"


def parse_names(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise typer.BadParameter("nothing is named; give names separated by commas, such as scenes,scenes-pope.")
    return names


def parse_retains(text: str) -> tuple[float, ...]:
    """Budgets, separated by commas, each as `--retain` takes one."""
    return tuple(opt.parse_retain(part) for part in parse_names(text))


def evaluate(
    tasks: Annotated[
        Any,
        typer.Option(
            "--tasks",
            parser=parse_names,
            metavar="A,B,…",
            help="Tasks: scenes (ten kinds), scenes-pope, -mme, -multi, -video, or files of JSON lines (.jsonl).",
        ),
    ] = TASKS,
    methods: opt.MethodNames = METHODS,
    retain: Annotated[
        Any,
        typer.Option(
            "--retain",
            parser=parse_retains,
            metavar="A,B,…",
            help="Budgets: shares such as 0.1, or counts such as 288.",
        ),
    ] = RETAINS,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Runs of each method that chooses at random.")] = 3,
    against: Annotated[
        Any,
        typer.Option(
            "--against",
            parser=parse_names,
            metavar="A,B,…",
            help="Compare every method with these as well, budget by budget; with no pruning all are compared.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", help="The run's folder; the same command goes on where it was stopped.")
    ] = Path("todre-eval"),
    model: opt.Model = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Questions of each task. Without it, 200 if it is generated, else all."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Which generated questions, the first draw, and the resampling.")
    ] = 0,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes that answer, each with a model on one thread.")
    ] = 1,
    size: Annotated[int, typer.Option("--size", min=1, help="Side of the scenes' pictures in pixels.")] = 192,
    group_size: Annotated[int, typer.Option("--group-size", min=1, help="Pictures answered together.")] = 16,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Most questions of one forward.")] = 48,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Answer tasks under methods and budgets, and compare each with no pruning on the same questions."""
    from todre.evaluate.engine import Asked, run
    from todre.evaluate.grid import grid

    check_directory(output.parent)
    named, everything = opt.every(methods)
    planned = grid(named, retain, draws, seed, everything)
    started = time.monotonic()
    with working(quiet or json):
        asked = Asked(
            tuple(tasks), model, limit, seed, size, group_size, batch_size, device, dtype, attn_implementation,
            trust_remote_code,
        )  # fmt: skip
        ran = run(
            asked, planned, output, processes=processes, forgiving=everything, ticker=progress_bar(quiet),
            against=against or (),
        )  # fmt: skip
    _write_timings(output, ran, processes, time.monotonic() - started)
    if json:
        show_json(ran.result)
        return
    from todre.cli.evaluate_tables import evaluation_table

    show(evaluation_table(ran.result))
    for name, reason in ran.result["left_out"].items():
        show_text(f"{name} is left out: {reason}")
    note(f"wrote {output}/result.json, samples.jsonl, items.jsonl and timings.json", quiet)


def progress_bar(quiet: bool) -> Ticker:
    """A bar on stderr with the time left; away from a terminal nothing."""
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
    """What may differ from one run to the next, apart from the result."""
    import json
    import os
    import platform

    from todre.cli.analyze_options import command_line
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
        "questions_per_processor_second": {
            name: round(questions / seconds, 2) for name, seconds in ran.seconds.items() if seconds
        },
    }
    write_atomic(output / "timings.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
