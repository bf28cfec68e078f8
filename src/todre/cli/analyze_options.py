"""Options that the commands of `todre analyze` share, and their parsers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from todre.cli import options as opt
from todre.cli.ignored_options import check_beside
from todre.cli.option_records import OptionRecord
from todre.cli.parsers import LEAST_SIDE, MOST, MOST_SIDE, one_of

if TYPE_CHECKING:
    from todre.analysis.questions import Source

SplitName = Literal["train", "val", "test"]


def parse_tasks(text: str) -> tuple[str, ...]:
    """Parse names of scene tasks, separated by commas."""
    from todre.scenes import TASKS

    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in TASKS]
    if unknown or not names:
        named = f"there is no task {unknown[0]!r}" if unknown else "no task is named"
        raise typer.BadParameter(f"{named}; use some of {', '.join(TASKS)}.")
    return tuple(names)


def parse_layers(text: str) -> tuple[int, ...]:
    """Parse counts of decoder layers, separated by commas, in ascending order."""
    try:
        layers = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        layers = ()
    if not layers or layers[0] < 1 or layers[-1] > MOST:
        raise typer.BadParameter(f"{text!r} names no layers; give counts of at least 1, such as 2,4,6.")
    return layers


Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        help="A file of your own questions, one line "
        '{"image": "a.png", "question": "…", "answer": "…", "task": "…"} each. '
        "Without it, scenes that the shipped model has never seen.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=MOST, help="How many questions.")]
Split = Annotated[
    SplitName,
    typer.Option(
        "--split", parser=one_of(*get_args(SplitName)), metavar="NAME", help="Split of the scenes: train, val or test."
    ),
]
Size = Annotated[
    int, typer.Option("--size", min=LEAST_SIDE, max=MOST_SIDE, help="Side of the scenes' pictures in pixels.")
]
Tasks = Annotated[
    Any,
    typer.Option(
        "--tasks",
        parser=parse_tasks,
        metavar="A,B,…",
        show_default=False,
        help="Tasks of the scenes. Without it, all that suit the instrument.",
    ),
]
Output = Annotated[Path, typer.Option("--output", help="The JSON document.")]
Figure = Annotated[
    Path | None, typer.Option("--figure", help="The figure. Without it, beside the document, with the suffix .png.")
]
Batch = Annotated[
    int, typer.Option("--batch-size", min=1, max=MOST, help="Questions of one forward pass; changes no number.")
]
Layers = Annotated[
    Any,
    typer.Option(
        "--layers",
        parser=parse_layers,
        metavar="1,2,…",
        show_default=False,
        help="Decoder layers after which to measure, counted from 1. Without it, all but the last.",
    ),
]


@dataclass(frozen=True)
class QuestionOptions(OptionRecord):
    """Options that choose a model's questions: from a file, or about scenes."""

    questions: Questions = None
    limit: Limit = 60
    split: Split = "test"
    size: Size = 192

    def source(self) -> Source:
        """The source of questions: the file, or scenes with all their tasks."""
        from todre.analysis.questions import Source

        return Source(self.questions, self.limit, self.split, self.size)

    def check(self, context: typer.Context) -> None:
        """Raise if options of scenes stand beside questions of one's own.

        Args:
            context: Typer's context of the command.
        """
        if self.questions is not None:
            names = {each.name or "" for each in context.command.params}
            check_beside(context, "--questions", names - {"split", "size", "tasks"})


@dataclass(frozen=True)
class InstrumentQuestions(QuestionOptions):
    """Options that choose an instrument's questions, and the tasks of scenes."""

    tasks: Tasks = None

    def source_of(self, short_answers: bool) -> Source:
        """The source of the instrument's questions.

        Args:
            short_answers: True leaves out the scene task with long answers, unless --tasks names it.
        """
        from todre.analysis.questions import Source
        from todre.scenes import TASKS

        suiting = tuple(task for task in TASKS if task != "caption" or not short_answers)
        return Source(self.questions, self.limit, self.split, self.size, self.tasks or suiting)


@dataclass(frozen=True)
class DocumentOptions(OptionRecord):
    """Options for the files of an instrument: its document and its figure."""

    output: Output
    figure: Figure = None
    force: opt.Force = False
