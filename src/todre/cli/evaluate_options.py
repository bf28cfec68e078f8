"""Options of `todre eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli.option_records import OptionRecord
from todre.cli.parsers import LEAST_SIDE, MOST, MOST_PROCESSES, MOST_SEED, MOST_SIDE, parse_names, usage

TASKS = "scenes"
RETAINS = "0.25,0.1,0.05"
METHODS = "todre,todre-v1,random"
FOLDER = Path("todre-eval")


def parse_tasks(text: str) -> tuple[str, ...]:
    """Parse names of tasks and of JSON Lines files, separated by commas."""
    from todre.evaluate.tasks import tasks_of

    names = parse_names(text)
    with usage():
        tasks_of(names)
    return names


Tasks = Annotated[
    Any,
    typer.Option(
        "--tasks",
        parser=parse_tasks,
        metavar="A,B,…",
        help="Tasks: scenes (ten kinds), scenes-pope, -mme, -multi, -video, wordings (scenes in other words), pages "
        "(of text), screens (ten in a row), screens-clip, or files of JSON lines (.jsonl).",
    ),
]
Draws = Annotated[int, typer.Option("--draws", min=1, max=MOST, help="Runs of each method that chooses at random.")]
Against = Annotated[
    Any,
    typer.Option(
        "--against",
        parser=parse_names,
        metavar="A,B,…",
        help="Methods to compare every method with, budget by budget, besides no pruning.",
    ),
]
LeaveOut = Annotated[
    bool,
    typer.Option(
        "--leave-out",
        help="Leave out methods that refuse, with the reason, instead of ending; as with --methods all.",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", help="Folder of the run; the same command resumes a run that was stopped.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        max=MOST,
        help="Questions of each task. Without it, 200 of a generated task, and all of a file.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=MOST_SEED, help="Seed of the generated questions, the first draw and the resampling."
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes", min=1, max=MOST_PROCESSES, help="Processes that answer, each with its own model on one thread."
    ),
]
Size = Annotated[
    int, typer.Option("--size", min=LEAST_SIDE, max=MOST_SIDE, help="Side of the scenes' pictures in pixels.")
]
GroupSize = Annotated[int, typer.Option("--group-size", min=1, max=MOST, help="Pictures answered together.")]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        min=1,
        max=MOST,
        help="Most questions of one forward pass; those that share their picture's run go together.",
    ),
]


@dataclass(frozen=True)
class AnsweringOptions(OptionRecord):
    """Options that draw and group the questions; each can change an answer."""

    size: Size = 192
    group_size: GroupSize = 16
    batch_size: BatchSize = 48
