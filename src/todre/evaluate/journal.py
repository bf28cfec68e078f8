"""The working file of a run, one line per unit; a kill loses and repeats nothing.

The first line is a header with all that an answer depends on. Each further line holds one finished unit and is on the
disk before the next unit begins. A line that a kill left unfinished is cut off when the file is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from todre.errors import InvalidValueError
from todre.files import Kind, append, numbered, open_locked, parsed, printable
from todre.files import opened as reading
from todre.files.shapes import COUNT, NUMBER, OBJECT, TEXT

FORMAT = "todre eval 1"
_LINE = {
    "group": COUNT,
    "condition": TEXT,
    "digest": TEXT,
    "seconds": NUMBER,
    "said": [[TEXT, COUNT, NUMBER, (COUNT, None)]],
    "refused": TEXT,
}
WORKING = Kind("delete the file to start anew", _LINE, most=2**31, lenient=True)
"""Kind of file: the working file of `todre eval`."""
_HEADER = replace(WORKING, shape={"conditions": OBJECT})
_START = json.dumps({"format": FORMAT}).encode()[:-1]


@dataclass(frozen=True)
class Unit:
    """One group of pictures under one condition.

    Attributes:
        group: number of the group.
        condition: the condition's name.
        digest: hash of the condition's fields, so that another condition of the same name is another unit.
    """

    group: int
    condition: str
    digest: str


@dataclass(frozen=True)
class Done:
    """A finished unit: one group answered under one condition.

    Attributes:
        unit: the group and the condition.
        seconds: processor time.
        replies: text and token counts for each item of the group, in order; `said` in the file.
        refused: why the method does not apply, or empty.
    """

    unit: Unit
    seconds: float
    replies: list[list[Any]]
    refused: str = ""


class Journal:
    """An open working file; `done` holds its finished units."""

    def __init__(self, stream: BinaryIO, file: Path, done: dict[Unit, Done]) -> None:
        self._stream, self._file = stream, file
        self.done = done

    def add(self, done: Done) -> None:
        """Append a unit; it is on the disk when this returns."""
        self._append({**asdict(done.unit), "seconds": done.seconds, "said": done.replies, "refused": done.refused})
        self.done[done.unit] = done

    def forget_refusals(self) -> None:
        """Take refused units for unfinished, so that they are tried again."""
        self.done = {unit: done for unit, done in self.done.items() if not done.refused}

    def start(self, conditions: dict[str, Any]) -> None:
        """Write the header of a new file."""
        self._append({"format": FORMAT, "conditions": conditions})

    def _append(self, values: dict[str, Any]) -> None:
        line = json.dumps(values, ensure_ascii=False)
        if len(line) * 4 > WORKING.line and len(line.encode("utf-8", "backslashreplace")) >= WORKING.line:
            raise InvalidValueError(
                f"A line of {printable(self._file)} would have more than {WORKING.line:,} bytes, so that it could not "
                "be read again; answer fewer pictures together, with a smaller --group-size."
            )
        append(self._stream, line, self._file, sync=True)


@contextmanager
def opened(file: Path, conditions: dict[str, Any]) -> Iterator[Journal]:
    """The locked working file of a run under `conditions`; a new one if there is none.

    Raises:
        InvalidValueError: the file belongs to a run under other conditions, is open in another run, or is damaged.
        OutputError: nothing can be written there.
    """
    if os.path.lexists(file):
        with reading(file, WORKING):
            pass
    with open_locked(file, "--output") as stream:
        stream.seek(0)
        start = next(numbered(stream, file, WORKING), (1, b""))[1][: len(_START)]
        if not _START.startswith(start):
            raise InvalidValueError(
                f"{printable(file)} is no working file of this version of todre eval; give another --output."
            )
        stream.seek(0)
        journal, end, header = Journal(stream, file, {}), 0, b""
        for number, line in numbered(stream, file, WORKING):
            if not line.endswith(b"\n"):  # cut off by a kill
                break
            end += len(line)
            if number == 1:
                header = line
                continue
            if number == 2:
                _compare(parsed(header, 1, file, _HEADER), conditions, file)
            done = _done(parsed(line, number, file, WORKING))
            journal.done[done.unit] = done
        stream.truncate(end if journal.done else 0)
        stream.seek(0, os.SEEK_END)
        if not journal.done:  # nothing was answered yet
            journal.start(conditions)
        yield journal


def _done(values: dict[str, Any]) -> Done:
    unit = Unit(values["group"], values["condition"], values["digest"])
    return Done(unit, values["seconds"], values["said"], values["refused"])


def _compare(header: dict[str, Any], conditions: dict[str, Any], file: Path) -> None:
    """Raise unless the header has these conditions, naming the first difference."""
    before = header.get("conditions", {})
    current = json.loads(json.dumps(conditions))
    for name in [*current, *sorted(set(before) - set(current))]:
        if before.get(name) != current.get(name):
            raise InvalidValueError(
                f"{printable(file)} belongs to a run with {name} {_short(before.get(name))}, not "
                f"{_short(current.get(name))}; "
                "use the same options to go on, or give another --output."
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
