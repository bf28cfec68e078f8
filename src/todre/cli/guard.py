"""What every command does around its work: one-line errors, exit codes, warnings on stderr."""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from todre.errors import TodreError

FAILED, INTERRUPTED = 1, 130


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: a `TodreError` becomes one line and exit code 1, Ctrl-C 130; tracebacks appear with -v alone."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        verbose, quiet = kwargs.get("verbose", False), kwargs.get("quiet", False)
        try:
            with _warnings_on_stderr(verbose, quiet):
                command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of stdout left (as in `todre methods | head -1`); do not let Python complain at exit.
            sys.stdout = open("/dev/null", "w")  # noqa: SIM115
            raise typer.Exit(FAILED) from None
        except Exception as error:
            if verbose:
                traceback.print_exc()
            _say(f"error: {_sentence(error)}")
            raise typer.Exit(FAILED) from None

    return run


def usage_error(error: Exception) -> int:
    """Say in one line what was wrong with the arguments; returns the exit code.

    Typer carries its own copy of click or imports it, by version, so its errors are known by what they can do.
    """
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return int(error.exit_code)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "todre"
    message = " ".join(str(error.format_message()).split())
    _say(f"error: {message if message.endswith(('.', '?')) else message + '.'} See `{path} --help`.")
    return int(error.exit_code)


def examples(*lines: str) -> str:
    """The epilog of a command's help: one example per line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {escape(line)}" for line in lines)])


def _sentence(error: Exception) -> str:
    if isinstance(error, TodreError):
        return " ".join(str(error).split())
    text = " ".join(str(error).split()) or "no message"
    return f"unexpected {type(error).__name__} ({text}); run it again with -v to see where it came from."


def _say(line: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(line))


@contextmanager
def _warnings_on_stderr(verbose: bool, quiet: bool) -> Iterator[None]:
    """Show todre's own warnings as one line each, and those of libraries with -v alone."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        ours = category.__module__.partition(".")[0] == "todre"
        if verbose or (ours and not quiet):
            _say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
