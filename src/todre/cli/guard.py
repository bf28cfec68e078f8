"""The guard around every command: warnings on stderr, one line for an error."""

from __future__ import annotations

import contextlib
import functools
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.markup import escape

from todre.cli.console import say
from todre.cli.sentences import line_of, sentence
from todre.cli.streams import ReaderGoneError

FAILED, WRONG_USAGE = 1, 2


class FailedError(Exception):
    """A command failed with `error`; `verbose` asks for the traceback."""

    def __init__(self, error: Exception, verbose: bool) -> None:
        super().__init__(str(error))
        self.error, self.verbose = error, verbose


def guarded(command: Callable[..., None], anywhere: bool = False) -> Callable[..., None]:
    """Wrap a command so that its errors and warnings become lines on stderr.

    Errors of the work (exit code 1) are kept apart from those of the arguments (2).

    Args:
        command: the function to wrap; Typer calls the wrapped one.
        anywhere: whether the command works if the working directory is gone, where torch's libraries end the process.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        verbose, quiet = kwargs.get("verbose", False), kwargs.get("quiet", False)
        _say_what_one_is(kwargs.get("retain"), quiet)
        if verbose and os.environ.get("TRANSFORMERS_VERBOSITY") == "critical":
            os.environ["TRANSFORMERS_VERBOSITY"] = "warning"
        try:
            if not anywhere:
                os.getcwd()
            with _warnings_on_stderr(verbose, quiet):
                command(*args, **kwargs)
        except Exception as error:
            if _is_of_typer(error):
                raise
            raise FailedError(error, verbose) from error

    return run


def tell(error: Exception) -> int:
    """Print one line about an error; returns the exit code.

    Nothing is printed after the reader of stdout has closed it.
    """
    verbose = isinstance(error, FailedError) and error.verbose
    cause = error.error if isinstance(error, FailedError) else error
    if isinstance(cause, ReaderGoneError):
        return FAILED
    if hasattr(cause, "format_message"):
        return _tell_usage(cause)
    if verbose:
        with contextlib.suppress(OSError):
            traceback.print_exception(cause)
    say(f"error: {sentence(cause)}")
    return FAILED


def examples(*lines: str) -> str:
    """The end of a command's help: one example per line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {escape(line)}" for line in lines)])


def _is_of_typer(error: Exception) -> bool:
    """Whether Typer raised the error, to end a command or about its arguments.

    Typer carries a copy of click or imports click, depending on its version, so its errors are known by their names.
    """
    return hasattr(error, "format_message") or type(error).__name__ in ("Exit", "Abort")


def _tell_usage(error: Any) -> int:
    """Print what was wrong with the arguments; returns the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "todre"
    message = line_of(str(error.format_message()))
    say(f"error: {message if message.endswith(('.', '?')) else message + '.'} See `{path} --help`.")
    return int(error.exit_code)


def _say_what_one_is(retain: Any, quiet: bool) -> None:
    """Note that `--retain 1` means one token, and 1.0 all of them."""
    budgets = retain if isinstance(retain, tuple) else (retain,)
    if not quiet and any(type(each) is int and each == 1 for each in budgets):
        say("note: --retain 1 is a count, and keeps one visual token; write 1.0 to keep all of them.")


@contextmanager
def _warnings_on_stderr(verbose: bool, quiet: bool) -> Iterator[None]:
    """Show todre's warnings in one line each, and libraries' warnings only with -v."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        ours = category.__module__.partition(".")[0] == "todre"
        if verbose or (ours and not quiet):
            say(f"warning: {line_of(str(message))}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
