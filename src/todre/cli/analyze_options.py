"""What the commands of `todre analyze` share: options, the job behind a command, and its two files."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todre.cli import options as opt
from todre.cli.console import check_output, counting, note, show_json, working
from todre.errors import InvalidValueError
from todre.files import check_target, check_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from todre.analysis.results import Job, Tick
    from todre.loading.model import Loaded
    from todre.methods.base import Method

Document = dict[str, Any]
SPLITS = ("train", "val", "test")
WORKING = ".partial.jsonl"
"""The end of the working file's name, which is gone on with."""

Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        help='Own questions: a line {"image": "a.png", "question": "…", "answer": "…", "task": "…"} for each. '
        "Without it, scenes that the shipped model has never seen.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=opt.MOST, help="How many questions.")]
Split = Annotated[
    str,
    typer.Option("--split", parser=opt.one_of(*SPLITS), metavar="NAME", help="Of the scenes: train, val or test."),
]
Size = Annotated[
    int, typer.Option("--size", min=opt.LEAST_SIDE, max=opt.MOST_SIDE, help="Side of the scenes' pictures in pixels.")
]
Tasks = Annotated[
    Any,
    typer.Option(
        "--tasks", parser=lambda text: parse_tasks(text), metavar="A,B,…", show_default=False,
        help="Tasks of the scenes. Without it, all that suit the instrument.",
    ),
]  # fmt: skip
Output = Annotated[Path, typer.Option("--output", help="The JSON document.")]
Figure = Annotated[
    Path | None, typer.Option("--figure", help="Its picture. Without it, beside the document, with .png at the end.")
]
Batch = Annotated[
    int, typer.Option("--batch-size", min=1, max=opt.MOST, help="Questions of one forward; changes no number.")
]
Layers = Annotated[
    Any,
    typer.Option(
        "--layers", parser=lambda text: parse_layers(text), metavar="1,2,…",
        help="Counts of decoder layers run. Without it, all but the last.", show_default=False,
    ),
]  # fmt: skip


def parse_tasks(text: str) -> tuple[str, ...]:
    """Names of tasks, separated by commas."""
    from todre.scenes import TASKS

    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in TASKS]
    if unknown or not names:
        named = f"there is no task {unknown[0]!r}" if unknown else "no task is named"
        raise typer.BadParameter(f"{named}; use some of {', '.join(TASKS)}.")
    return tuple(names)


def parse_layers(text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas."""
    try:
        found = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        found = ()
    if not found or found[0] < 1 or found[-1] > opt.MOST:
        raise typer.BadParameter(f"{text!r} names no layers; give counts of at least 1, such as 2,4,6.")
    return found


def calibrated(method: Method) -> Method:
    """A method that has a stage 2 to calibrate.

    Raises:
        InvalidValueError: it has none.
    """
    from todre.methods.todre import ToDRE

    if not isinstance(method, ToDRE):
        raise InvalidValueError(f"{method.name!r} has no stage 2 to calibrate; use todre or todre-v1.")
    return method


@dataclass(frozen=True)
class AnalyzeConfig:
    """The options that every instrument has, as they were given.

    Scenes are asked all tasks unless `tasks` says otherwise; `words` leaves the one with long answers out. `beside`
    has the ends of further files' names that are written beside the document, and `methods` those that are read.
    """

    model: str | None
    questions: Path | None
    limit: int
    split: str
    size: int
    tasks: tuple[str, ...] | None
    output: Path
    figure: Path | None
    force: bool
    batch_size: int
    device: str
    dtype: str
    attn_implementation: str | None
    trust_remote_code: bool
    json: bool
    quiet: bool
    words: bool = False
    beside: tuple[str, ...] = ()
    methods: str = ""

    def check(self) -> None:
        """Raise, before any work, where a file cannot be written or a question not be asked."""
        from todre.plots import FORMATS, require_matplotlib

        require_matplotlib()
        inputs = [self.model, *self.source.files(), *opt.files_among(self.methods)]
        check_output(self.output, (".json",), inputs, self.force)
        check_output(self.figure, FORMATS, inputs, self.force)
        drawn = self.figure or self.output.with_suffix(".png")
        check_targets((self.output, drawn, *map(self.output.with_suffix, self.beside)), inputs, self.force)
        check_target(self.output.with_suffix(WORKING), inputs, force=True)
        self.source.questions()

    @property
    def source(self) -> Any:
        """The questions."""
        from todre.analysis.questions import Source
        from todre.scenes import TASKS

        suiting = tuple(task for task in TASKS if task != "caption" or not self.words)
        return Source(self.questions, self.limit, self.split, self.size, self.tasks or suiting)

    def load(self) -> Loaded:
        """The model."""
        return opt.load_model(
            self.model, self.device, self.dtype, self.attn_implementation, self.trust_remote_code, self.quiet
        )

    def job(self, instrument: str, parameters: dict[str, Any], loaded: Loaded, tick: Tick) -> Job:
        """The run of an instrument."""
        from todre.analysis.results import Job

        return Job(
            instrument, parameters, loaded, self.source, self.output, self.batch_size, command_line(), tick, self.figure
        )


def command_line() -> str:
    """What was typed, as far as this process knows."""
    return shlex.join(["todre", *sys.argv[1:]])


@contextmanager
def measuring(asking: AnalyzeConfig, instrument: str) -> Iterator[tuple[Loaded, Tick]]:
    """Inside, stdout is kept for the result; yields the model and the progress bar's tick."""
    asking.check()
    with working(asking.quiet or asking.json):
        loaded = asking.load()
        with counting(instrument, asking.quiet) as tick:
            yield loaded, tick


def write(job: Job, document: Document, draw: Callable[[Document], Drawing]) -> None:
    """Write the two files."""
    from todre.analysis.results import finish
    from todre.plots.marks import save_figure

    finish(job, document, lambda found, path: save_figure(draw(found), path))


def report(asking: AnalyzeConfig, job: Job, document: Document, show: Callable[[Document], None]) -> None:
    """Say what was found: one JSON document with --json, else a few lines."""
    if asking.json:
        show_json(document)
        return
    show(document)
    note(f"wrote {job.output} and {job.drawn}", asking.quiet)
