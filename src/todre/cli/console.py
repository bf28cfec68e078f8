"""Output of commands: results on stdout, notes and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from todre.cli.streams import check_stdout, delivering, write_bytes
from todre.cli.table_layout import print_fitting
from todre.files import check_target, printable


def show(result: RenderableType, whole: bool = False) -> None:
    """Print a result on stdout.

    With `whole`, a table that does not go to a terminal is as wide as its cells need.
    """
    with delivering():
        print_fitting(result, whole)


def show_text(result: str) -> None:
    """Print a result on stdout as it is, with no wrapping and no markup."""
    with delivering() as stream:
        stream.write(result + "\n")


def show_json(document: Any) -> None:
    """Print the JSON document of a --json run on stdout, always in UTF-8.

    Lone surrogates, which stand for undecodable bytes of a file's name, are written as JSON escapes.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with delivering() as stream:
        write_bytes(stream, text.encode("utf-8", "backslashreplace"))


def note(line: str, quiet: bool = False) -> None:
    """Print a dim line beside the result, on stderr, unless `quiet`.

    A closed stderr is no error: the work goes on.
    """
    if not quiet:
        with suppress(OSError):
            Console(stderr=True, highlight=False, soft_wrap=True).print(escape(line), style="dim")


def say(line: str) -> None:
    """Print a line on stderr as it is; a closed stderr is no error."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


@contextmanager
def working(quiet: bool, printing: bool = True) -> Iterator[None]:
    """Keep stdout for the result; what libraries print goes to stderr.

    Libraries' progress bars are off with `quiet`, and where stderr is no terminal. Without `printing` there is no
    result for stdout, which may then be closed.
    """
    if printing:
        check_stdout()
    from transformers.utils import logging

    if quiet or not sys.stderr.isatty():
        logging.disable_progress_bar()
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress(steps: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show a progress bar of `steps` steps on stderr.

    Call the yielded function at the start of each step, with the step's name.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=steps)
        prefix = False

        def begin(what: str) -> None:
            nonlocal prefix
            bar.update(task, description=what, advance=1 if prefix else 0)
            prefix = True

        yield begin


@contextmanager
def counting(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr for work that counts its own steps.

    Call the yielded function with (steps done, steps in all).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def check_output(
    path: Path | None, suffixes: Sequence[str], inputs: Iterable[str | Path | None] = (), force: bool = False
) -> None:
    """Raise, before any work, unless a file can be written at `path`.

    The suffix names the format.

    Args:
        path: the file; None if there is none to write.
        suffixes: the suffixes that can be written.
        inputs: files that the command reads; writing over one is refused.
        force: whether an earlier result may be replaced.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise typer.BadParameter(
            f"{printable(path)} has no suffix of a format that can be written; use {', '.join(suffixes)}."
        )
    check_target(path, inputs, force)


def check_figure(path: Path | None, inputs: Iterable[str | Path | None] = (), force: bool = False) -> None:
    """Raise, before any work, unless a figure can be drawn into `path`.

    Args:
        path: the file; None if there is none to write.
        inputs: files that the command reads; writing over one is refused.
        force: whether an earlier figure may be replaced.
    """
    if path is None:
        return
    from todre.plots import FORMATS, require_matplotlib

    require_matplotlib()
    check_output(path, FORMATS, inputs, force)
