"""Handling of stdout and stderr that are closed, full, unread, or not UTF-8."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from todre.errors import OutputError

_INSTEAD = "send it to a file or a pipe, or write it with --output where there is one."


class ReaderGoneError(Exception):
    """The reader of stdout has closed it, as `| head -1` does."""


class Closed(io.TextIOBase):
    """Stand-in for stdout in a process that was started without it (`>&-`).

    Writing to it is an error, so that no result is lost without a word.
    """

    encoding = "utf-8"
    errors = "replace"

    def writable(self) -> bool:
        """True, so that `write` is called and can raise."""
        return True

    def write(self, text: str) -> int:
        """Raise OSError."""
        raise OSError(errno.EBADF, "it is closed")


def prepare() -> None:
    """Let stdout and stderr write `?` for what they cannot encode.

    A closed stream gets a stand-in: stderr's discards all text, and stdout's raises an error when written to.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, so that no file that is opened later gets it
    if sys.stdout is None:
        sys.stdout = Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def check_stdout() -> None:
    """Raise, before any work, if stdout is closed.

    Raises:
        OutputError: stdout is closed.
    """
    if isinstance(sys.stdout, Closed):
        raise OutputError(f"stdout is closed, so the result has nowhere to go; {_INSTEAD}")


@contextlib.contextmanager
def delivering() -> Iterator[TextIO]:
    """Yield stdout for a result, and flush it at the end of the block.

    Raises:
        OutputError: stdout is closed, or the disk behind it is full.
        ReaderGoneError: the reader of stdout has closed it.
    """
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        raise undelivered(error) from error


def undelivered(error: OSError) -> OutputError:
    """The error to raise for an OSError of stdout."""
    reason = error.strerror or str(error)
    return OutputError(f"The result cannot be written to stdout ({reason}); {_INSTEAD}")


def write_bytes(stream: Any, data: bytes) -> None:
    """Write bytes as they are, whatever the stream's encoding is."""
    binary = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(data.decode("utf-8"))
        return
    stream.flush()
    binary.write(data)


def settle() -> None:
    """Flush stdout and stderr, or drop what they cannot write.

    Python would fail at its end over text that is left in a stream.

    Raises:
        OutputError, ReaderGoneError: stdout could not be written, as in `delivering`.
    """
    with contextlib.suppress(OSError, ValueError):
        _end(sys.stderr)
    with delivering():
        _end(sys.stdout)


def _end(stream: Any) -> None:
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        raise
