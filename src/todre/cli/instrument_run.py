"""One run of an instrument of `todre analyze`: options, job and result files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from todre.cli.analyze_options import DocumentOptions, InstrumentQuestions
from todre.cli.command_line import command_line
from todre.cli.console import check_output, counting, note, show_json, working
from todre.cli.method_names import files_among
from todre.cli.options import ModelOptions, Reporting
from todre.errors import InvalidValueError
from todre.files import check_target, check_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from todre.analysis.questions import Source
    from todre.analysis.results import Job, Tick
    from todre.loading.model import Loaded
    from todre.methods.base import Method

Document = dict[str, Any]
WORKING = ".partial.jsonl"
"""End of the working file's name; a later run resumes from that file."""


@dataclass(frozen=True)
class InstrumentRun:
    """A run of an instrument, with the options that every instrument has.

    Attributes:
        context: Typer's context of the command.
        model: options of the model.
        questions: options of the questions that the model is asked.
        files: where the document and the figure go.
        reporting: how the result is shown.
        batch_size: questions of one forward.
        short_answers: True leaves out the scene task with long answers, unless tasks are named.
        beside: endings of the further files that are written beside the document.
        methods: names or files of methods, separated by commas; the files are inputs.
    """

    context: typer.Context
    model: ModelOptions
    questions: InstrumentQuestions
    files: DocumentOptions
    reporting: Reporting
    batch_size: int = 1
    short_answers: bool = False
    beside: tuple[str, ...] = ()
    methods: str = ""

    def check(self) -> None:
        """Raise, before any work, if a file or a question cannot be used."""
        from todre.plots import FORMATS, require_matplotlib

        self.questions.check(self.context)
        require_matplotlib()
        output, force = self.files.output, self.files.force
        inputs = [self.model.model, *self.source.files(), *files_among(self.methods)]
        check_output(output, (".json",), inputs, force)
        check_output(self.files.figure, FORMATS, inputs, force)
        drawn = self.files.figure or output.with_suffix(".png")
        check_targets((output, drawn, *map(output.with_suffix, self.beside)), inputs, force)
        check_target(output.with_suffix(WORKING), inputs, force=True)
        self.source.questions()

    @property
    def source(self) -> Source:
        """The source of the questions."""
        return self.questions.source_of(self.short_answers)

    def job(self, instrument: str, parameters: dict[str, Any], loaded: Loaded, tick: Tick) -> Job:
        """The job of an instrument.

        Args:
            instrument: name of the instrument.
            parameters: the instrument's own settings, ready for JSON.
            loaded: the model.
            tick: shows progress.
        """
        from todre.analysis.results import Job

        return Job(
            instrument=instrument,
            parameters=parameters,
            loaded=loaded,
            source=self.source,
            output=self.files.output,
            batch_size=self.batch_size,
            command=command_line(),
            tick=tick,
            figure=self.files.figure,
        )

    @contextmanager
    def measuring(self, instrument: str) -> Iterator[tuple[Loaded, Tick]]:
        """Load the model; yields (model, tick), where `tick` moves the progress bar.

        Inside the block, stdout is kept for the result.
        """
        self.check()
        with working(self.reporting.silent):
            loaded = self.model.load(self.reporting.quiet)
            with counting(instrument, self.reporting.quiet) as tick:
                yield loaded, tick

    def report(self, job: Job, document: Document, show: Callable[[Document], None]) -> None:
        """Show the result: one JSON document with --json, else a few lines by `show`."""
        if self.reporting.json:
            show_json(document)
            return
        show(document)
        note(f"wrote {job.output} and {job.drawn}", self.reporting.quiet)


def write(job: Job, document: Document, draw: Callable[[Document], Drawing]) -> None:
    """Write the document, and the figure that `draw` makes of it."""
    from todre.analysis.results import finish
    from todre.plots.marks import save_figure

    finish(job, document, lambda result, path: save_figure(draw(result), path))


def calibrated(method: Method) -> Method:
    """The method, if it has a stage 2 to calibrate.

    Raises:
        InvalidValueError: the method has no stage 2.
    """
    from todre.methods.todre import ToDRE

    if not isinstance(method, ToDRE):
        raise InvalidValueError(f"{method.name!r} has no stage 2 to calibrate; use todre or todre-v1.")
    return method
