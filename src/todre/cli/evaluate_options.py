"""Options of `todre eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli import options as opt
from todre.cli.options import parse_each_once, parse_names, parse_retain

TASKS = "scenes"
RETAINS = "0.25,0.1,0.05"
METHODS = "todre,todre-v1,random"
FOLDER = Path("todre-eval")


def parse_retains(text: str) -> tuple[float, ...]:
    """Budgets, separated by commas, each as `--retain` takes one."""
    retains = tuple(parse_retain(part) for part in parse_names(text))
    parse_each_once(retains, text)
    return retains


def parse_tasks(text: str) -> tuple[str, ...]:
    """Names of tasks and of files of JSON lines, separated by commas."""
    from todre.evaluate.tasks import tasks_of

    names = parse_names(text)
    with opt.usage():
        tasks_of(names)
    return names


Tasks = Annotated[
    Any,
    typer.Option(
        "--tasks",
        parser=parse_tasks,
        metavar="A,B,…",
        help="Tasks: scenes (ten kinds), scenes-pope, -mme, -multi, -video, or files of JSON lines (.jsonl).",
    ),
]
Retains = Annotated[
    Any,
    typer.Option(
        "--retain",
        parser=parse_retains,
        metavar="A,B,…",
        help="Budgets: shares such as 0.1, or counts such as 288.",
    ),
]
Draws = Annotated[int, typer.Option("--draws", min=1, max=opt.MOST, help="Runs of each method that chooses at random.")]
Against = Annotated[
    Any,
    typer.Option(
        "--against",
        parser=parse_names,
        metavar="A,B,…",
        help="Compare every method with these as well, budget by budget; with no pruning all are compared.",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", help="The run's folder; the same command goes on where it was stopped.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, max=opt.MOST, help="Questions of each task. Without it, 200 if it is generated, else all."
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=opt.MOST_SEED, help="Which generated questions, the first draw, and the resampling."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", min=1, max=opt.MOST_PROCESSES, help="Processes that answer, each with a model on one thread."
    ),
]
Size = Annotated[
    int, typer.Option("--size", min=opt.LEAST_SIDE, max=opt.MOST_SIDE, help="Side of the scenes' pictures in pixels.")
]
GroupSize = Annotated[int, typer.Option("--group-size", min=1, max=opt.MOST, help="Pictures answered together.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=opt.MOST, help="Most questions of one forward.")]
