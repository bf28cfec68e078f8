"""A run's working file, appended line by line, so that a kill at any point loses and repeats nothing.

The first line is a header with all that an answer depends on. Each further line holds one finished unit and is on the
disk before the next is begun. A line that a kill left unfinished is cut off when the file is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from todre.errors import InvalidValueError

FORMAT = "todre eval 1"
_START = json.dumps({"format": FORMAT}).encode()[:-1]


@dataclass(frozen=True)
class Unit:
    """One group of pictures under one condition.

    Attributes:
        group: number of the group.
        condition: the condition's name.
        digest: of every field of the condition, so that another of the same name is another unit.
    """

    group: int
    condition: str
    digest: str


@dataclass(frozen=True)
class Done:
    """A finished unit.

    Attributes:
        unit: which.
        seconds: processor time.
        said: what was said to each item of the group, in order, with token counts.
        refused: why the method does not apply, or empty.
    """

    unit: Unit
    seconds: float
    said: list[list[Any]]
    refused: str = ""


class Journal:
    """An open working file; `done` holds its units."""

    def __init__(self, stream: BinaryIO, done: dict[Unit, Done]) -> None:
        self._stream = stream
        self.done = done

    def add(self, done: Done) -> None:
        """Append a unit, on the disk when this returns."""
        self._append({**asdict(done.unit), "seconds": done.seconds, "said": done.said, "refused": done.refused})
        self.done[done.unit] = done

    def start(self, conditions: dict[str, Any]) -> None:
        """Write the header of a new file."""
        self._append({"format": FORMAT, "conditions": conditions})

    def _append(self, values: dict[str, Any]) -> None:
        self._stream.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def opened(file: Path, conditions: dict[str, Any]) -> Iterator[Journal]:
    """The working file of a run under `conditions`, alone; a new one if there is none yet.

    Raises:
        InvalidValueError: it belongs to a run under other conditions, another run has it open, or it was damaged.
    """
    with file.open("a+b") as stream:
        _lock(stream, file)
        stream.seek(0)
        content = stream.read()
        if not content.startswith(_START[: len(content)]):
            raise InvalidValueError(f"{file} is no working file of this version of todre eval; give another --output.")
        lines = content.split(b"\n")
        stream.truncate(sum(len(line) + 1 for line in lines[:-1]))  # the last is empty, or was cut off by a kill
        stream.seek(0, os.SEEK_END)
        header, *rest = lines[:-1] or [b""]
        journal = Journal(stream, {})
        if not rest:  # nothing was answered yet
            stream.truncate(0)
            journal.start(conditions)
        else:
            _compare(_read(file, 1, header), conditions, file)
        for number, line in enumerate(rest, start=2):
            done = _done(_read(file, number, line), file, number)
            journal.done[done.unit] = done
        yield journal


def _lock(stream: BinaryIO, file: Path) -> None:
    """Keep others out until the file is closed or the process ends; where the system has no such lock, do nothing."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InvalidValueError(
            f"{file} is being written by another run; wait for it, or give another --output."
        ) from None


def _read(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InvalidValueError(f"Line {number} of {file} is damaged; delete the file to start anew.")
    return values


def _done(values: dict[str, Any], file: Path, number: int) -> Done:
    try:
        unit = Unit(values["group"], values["condition"], values["digest"])
        return Done(unit, values["seconds"], values["said"], values["refused"])
    except KeyError as error:
        raise InvalidValueError(f"Line {number} of {file} has no {error}; delete the file to start anew.") from error


def _compare(header: dict[str, Any], conditions: dict[str, Any], file: Path) -> None:
    """Raise unless the header is of these conditions; says the first that differs."""
    before = header.get("conditions", {})
    asked = json.loads(json.dumps(conditions))
    for name in [*asked, *sorted(set(before) - set(asked))]:
        if before.get(name) != asked.get(name):
            raise InvalidValueError(
                f"{file} belongs to a run with {name} {_short(before.get(name))}, not {_short(asked.get(name))}; "
                "use the same options to go on, or give another --output."
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
