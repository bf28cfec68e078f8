"""The working file of a study, one line for each part and group.

The first line holds all that a measurement depends on. Each line is on the disk when its part and group are done, so a
kill repeats little.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from todre.errors import InvalidValueError
from todre.files import Kind, append, open_locked, printable, read_finished
from todre.files.shapes import COUNT, NUMBER, OBJECT, TEXT, misfit

FORMAT = "todre stage2 1"
WORKING = Kind("remove it to start anew, or write elsewhere", most=2**31, line=2**28)
"""Kind of file: the working file of a study."""
_LINE = {"group": COUNT, "part": TEXT, "digest": TEXT, "seconds": NUMBER, "records": [OBJECT]}
Key = tuple[int, str, str]
"""Number of a group, and name and digest of a part."""


@dataclass(frozen=True)
class Done:
    """A part measured on a group.

    Attributes:
        group, part, digest: the group's number, and the part's name and digest.
        seconds: processor time.
        records: one for each question of the group, in order.
    """

    group: int
    part: str
    digest: str
    seconds: float
    records: list[dict[str, Any]]

    @property
    def key(self) -> Key:
        """Key in the working file."""
        return self.group, self.part, self.digest


class Journal:
    """An open working file; `done` holds what is finished."""

    def __init__(self, stream: BinaryIO, file: Path, done: dict[Key, Done]) -> None:
        self._stream, self._file, self.done = stream, file, done

    def add(self, done: Done) -> None:
        """Append a line; it is on the disk when this returns."""
        append(self._stream, _line(done), self._file, sync=True)
        self.done[done.key] = done


@contextmanager
def opened(file: Path, conditions: dict[str, Any]) -> Iterator[Journal]:
    """The locked working file of a run under `conditions`; a new one if there is none.

    Raises:
        InvalidValueError: the file belongs to a run under other conditions, is open in another run, or is damaged.
        OutputError: nothing can be written there.
    """
    head = json.loads(json.dumps({"format": FORMAT, "conditions": conditions}))
    with open_locked(file, "--work") as stream:
        done = _finished(file, head)
        if not done:
            _check_start(stream, json.dumps(head), file)
        stream.truncate(_whole_lines(stream) if done else 0)  # a kill may have cut the last line off
        if not done:  # nothing was measured yet
            append(stream, json.dumps(head), file, sync=True)
        yield Journal(stream, file, done)


def _finished(file: Path, head: dict[str, Any]) -> dict[Key, Done]:
    """What a working file holds, after its header was compared with this run's."""
    done: dict[Key, Done] = {}
    for number, line in read_finished(file, WORKING):
        if number == 1:
            _compare(line, head, file)
            continue
        wrong = misfit(line, _LINE)
        if wrong:
            raise WORKING.wrong(f"Line {number} of {printable(file)}", wrong)
        one = Done(**{name: line[name] for name in _LINE})
        done[one.key] = one
    return done


def _check_start(stream: BinaryIO, header: str, file: Path) -> None:
    """Raise if a file without measurements is no header, whole or cut off."""
    stream.seek(0)
    if not f"{header}\n".encode().startswith(stream.read(len(header) + 2)):
        raise InvalidValueError(f"{printable(file)} is no working file of this command; write elsewhere.")


def _whole_lines(stream: BinaryIO) -> int:
    """Number of bytes up to the end of the last whole line."""
    stream.seek(0)
    end = 0
    for line in stream:
        end += len(line) if line.endswith(b"\n") else 0
    return end


def _compare(line: Any, head: dict[str, Any], file: Path) -> None:
    """Raise unless the header is this run's, naming the first difference."""
    if not isinstance(line, dict) or line.get("format") != FORMAT:
        raise InvalidValueError(f"{printable(file)} is no working file of this command; write elsewhere.")
    before, now = line.get("conditions", {}), head["conditions"]
    for name in [*now, *sorted(set(before) - set(now))]:
        if before.get(name) != now.get(name):
            raise InvalidValueError(
                f"{printable(file)} belongs to a run with another {name}; use the same options to go on, or give "
                "another --work."
            )


def _line(done: Done) -> str:
    values = {name: getattr(done, name) for name in _LINE}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)
