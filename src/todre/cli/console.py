"""Where output goes: results on stdout, one JSON document with --json, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from todre.errors import InvalidValueError
from todre.files import check_target, shown

PIPE_WIDTH = 118
"""Columns of tables that do not go to a terminal."""
_WIDEST = 1000
"""Columns that no table needs."""


def show(result: RenderableType, whole: bool = False) -> None:
    """Print a result on stdout; with `whole`, a table that goes to no terminal is as wide as its cells need."""
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else PIPE_WIDTH, highlight=False)
    if whole and not terminal:
        console.width = max(
            Measurement.get(console, console.options.update(max_width=_WIDEST), result).maximum, PIPE_WIDTH
        )
    console.print(result)


def show_text(result: str) -> None:
    """Print a result on stdout as it is, with no wrapping and no markup."""
    sys.stdout.write(result + "\n")
    sys.stdout.flush()


def show_json(document: Any) -> None:
    """Print the one JSON document of a --json run on stdout."""
    show_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def note(line: str, quiet: bool = False) -> None:
    """Say something beside the result, on stderr."""
    if not quiet:
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(line), style="dim")


@contextmanager
def working(quiet: bool) -> Iterator[None]:
    """Keep stdout for the result: what libraries print goes to stderr, and their progress bars go with -q."""
    from transformers.utils import logging

    if quiet or not sys.stderr.isatty():
        logging.disable_progress_bar()
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress(steps: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar of `steps` steps on stderr; call the yielded function with what begins now."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=steps)
        begun = False

        def begin(what: str) -> None:
            nonlocal begun
            bar.update(task, description=what, advance=1 if begun else 0)
            begun = True

        yield begin


@contextmanager
def counting(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr for work that counts its own steps; call the yielded function with (steps done, steps in all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def check_output(
    path: Path | None, suffixes: Sequence[str], inputs: Iterable[str | Path | None] = (), force: bool = False
) -> None:
    """Raise, before any work, unless a file can be written at `path` in a format that its suffix names.

    Args:
        path: the file; None for none.
        suffixes: those that can be written.
        inputs: what the command reads, of which nothing is written over.
        force: whether an earlier result may be replaced.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise InvalidValueError(
            f"{shown(path)} has no suffix of a format that can be written; use {', '.join(suffixes)}."
        )
    check_target(path, inputs, force)
