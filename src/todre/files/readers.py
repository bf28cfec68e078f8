"""Readers of files: every file that a user names is read here.

A file must be regular, of a sensible size, and hold sound text or JSON; else the error says in one sentence why not.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from todre.errors import TodreError
from todre.files.json_values import load_value
from todre.files.kind import Kind
from todre.files.names import printable, reason
from todre.files.shapes import misfit

MOST_LINES = 1_000_000
"""Most lines of a file of lines."""
_MARK = b"\xef\xbb\xbf"


def check_input(path: Path, thing: str, error: type[TodreError]) -> None:
    """Raise `error`, in one sentence, unless `path` is a file with something in it.

    Args:
        path: the user's path; a web address is refused, since nothing is downloaded.
        thing: what the file should hold: "image", "clip".
    """
    named = printable(path)
    if named.startswith(("http://", "https://", "http:/", "https:/")):
        raise error(f"{named} is an address, and todre reads files only; download the {thing} and give its file name.")
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as failure:
        raise error(f"{named} does not exist; check the {thing}'s file name.") from failure
    except OSError as failure:
        raise error(f"{named} cannot be read ({reason(failure)}); check its name and permissions.") from failure
    if stat.S_ISDIR(found.st_mode):
        raise error(f"{named} is a directory; give one {thing} file.")
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{named} is not a regular file; give a file that holds one {thing}.")
    if found.st_size == 0:
        raise error(f"{named} is empty (0 bytes); the {thing} was never written, save it again.")


@contextmanager
def opened(path: Path, kind: Kind) -> Iterator[BufferedReader]:
    """Open a file for reading, if it is regular and has at most `kind.most` bytes.

    Raises:
        TodreError: the file is not, as an error of `kind`.
    """
    if str(path).startswith(("http://", "https://", "http:/", "https:/")):
        raise kind.wrong(path, "is an address, and todre reads files only")
    try:
        before = os.stat(path)  # before it is opened, which a device or a pipe would notice
        irregular = not stat.S_ISREG(before.st_mode)
        stream = None if irregular else open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError, ValueError) as failure:
        raise kind.wrong(path, "does not exist") from failure
    except OSError as failure:
        raise kind.wrong(path, f"cannot be read ({reason(failure)})") from failure
    if stream is None:
        raise kind.wrong(path, "is a directory" if stat.S_ISDIR(before.st_mode) else "is not a regular file")
    with stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise kind.wrong(path, "is not a regular file")
        if found.st_size > kind.most:
            raise kind.wrong(path, f"has {found.st_size:,} bytes, and at most {kind.most:,} are read")
        yield stream


def read_bytes(path: Path, kind: Kind) -> bytes:
    """All of a file."""
    with opened(path, kind) as stream:
        try:
            raw = stream.read(kind.most + 1)
        except OSError as failure:
            raise kind.wrong(path, f"cannot be read ({reason(failure)})") from failure
    if len(raw) > kind.most:
        raise kind.wrong(path, f"grows while it is read, and at most {kind.most:,} bytes are")
    return raw


def read_text(path: Path, kind: Kind) -> str:
    """All of a file as text: UTF-8, with or without a byte-order mark."""
    return _text(read_bytes(path, kind), path, kind)


def read_json(path: Path, kind: Kind) -> Any:
    """The JSON document of a file, checked against `kind.shape`.

    Raises:
        TodreError: the document is none or does not fit, as an error of `kind` that says where and what is wrong.
    """
    raw = read_bytes(path, kind)
    if not raw.removeprefix(_MARK).strip():
        raise kind.wrong(path, "is empty")
    value = load_value(_text(raw, path, kind), raw, printable(path), kind, lines=True)
    found = misfit(value, kind.shape)
    if found:
        raise kind.wrong(path, found)
    return value


def read_lines(path: Path, kind: Kind) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line of a file of JSON lines as (line number from 1, object).

    Blank lines are left out.

    Raises:
        TodreError: the file or a line cannot be used, as an error of `kind` that says which line and what is wrong.
    """
    with opened(path, kind) as stream:
        for number, line in numbered(stream, path, kind):
            line = line.removeprefix(_MARK) if number == 1 else line
            if line.strip():
                yield number, parsed(line, number, path, kind)


def read_finished(path: Path, kind: Kind) -> Iterator[tuple[int, dict[str, Any]]]:
    """The finished lines of a working file as (line number from 1, object).

    A file that does not exist yet has no lines.

    A last line without its line end is left out: it was being written when the run was stopped.

    Raises:
        TodreError: any other line is damaged, as an error of `kind`.
    """
    if not os.path.lexists(path):
        return
    with opened(path, kind) as stream:
        for number, line in numbered(stream, path, kind):
            if line.endswith(b"\n"):
                yield number, parsed(line, number, path, kind)


def numbered(stream: BinaryIO, path: Path, kind: Kind) -> Iterator[tuple[int, bytes]]:
    """Each line of an open file as (line number from 1, line with its end).

    The length of lines and their number are limited.
    """
    for number in range(1, MOST_LINES + 2):
        try:
            line = stream.readline(kind.line + 1)
        except OSError as failure:
            raise kind.wrong(path, f"cannot be read ({reason(failure)})") from failure
        if not line:
            return
        if len(line) > kind.line:
            raise kind.wrong(f"Line {number} of {printable(path)}", f"has more than {kind.line:,} bytes")
        yield number, line
    raise kind.wrong(path, f"has more than {MOST_LINES:,} lines")


def parsed_text(text: str, where: str, kind: Kind) -> Any:
    """The JSON value of a text inside a file, checked against `kind.shape`."""
    value = load_value(text, text.encode("utf-8", "backslashreplace"), where, kind, lines=False)
    found = misfit(value, kind.shape)
    if found:
        raise kind.wrong(where, found)
    return value


def parsed(line: bytes, number: int, path: Path, kind: Kind) -> dict[str, Any]:
    """The object on a line, checked against `kind.shape`."""
    where = f"Line {number} of {printable(path)}"
    value = load_value(_text(line, path, kind, number), line, where, kind, lines=False)
    if not isinstance(value, dict):
        raise kind.wrong(where, "is no JSON object")
    found = misfit(value, kind.shape)
    if found:
        raise kind.wrong(where, found)
    return value


@contextmanager
def making_sense(path: Path, kind: Kind) -> Iterator[None]:
    """Run a block that computes with a file's values; its errors name the file."""
    try:
        yield
    except TodreError:
        raise
    except (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {reason(error)}"
        raise kind.wrong(path, f"holds values that do not fit together ({what})") from error


def sha256(path: Path, kind: Kind) -> str:
    """SHA-256 of a file of any size, read piece by piece."""
    with opened(path, kind) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for a writer, in case the file has become a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _text(raw: bytes, path: Path, kind: Kind, number: int | None = None) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = number or raw.count(b"\n", 0, error.start) + 1
        raise kind.wrong(f"Line {number} of {printable(path)}", "is no UTF-8 text") from error
