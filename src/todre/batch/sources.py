"""Sources of rows: JSON Lines, and pictures with one question.

Rows are read one at a time, as often as needed; no source holds them all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from todre.batch.records import Place, Record
from todre.errors import InvalidValueError
from todre.files import Kind, numbered, opened, parsed, printable
from todre.inputs import PICTURES

ROWS = Kind(
    'write {"id": "1", "image": "a.png", "question": "…"} or a request of OpenAI\'s batch API on each line',
    most=2**42,
    line=2**28,
    lenient=False,
)
"""Kind of file: rows to answer. A line may hold pictures as `data:` URLs."""
_MARK = b"\xef\xbb\xbf"


class Source(Protocol):
    """Rows to answer; can be sent to other processes."""

    @property
    def name(self) -> str:
        """What messages call the source."""
        ...

    @property
    def folder(self) -> Path:
        """The folder that paths of pictures are relative to."""
        ...

    def records(self) -> Iterator[Record]:
        """Every record, in order."""
        ...

    def read(self, place: Place) -> Record:
        """The record at a place that `records` gave."""
        ...


@dataclass(frozen=True)
class RowsFile:
    """A file of rows; its name and folder as a source's.

    Attributes:
        file: the file.
    """

    file: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return printable(self.file)

    @property
    def folder(self) -> Path:
        """The file's folder."""
        return self.file.parent


@dataclass(frozen=True)
class JsonLines(RowsFile):
    """A file of JSON Lines: rows of the plain shape, of OpenAI's batch API, or both.

    Records are at (offset in bytes, line number).
    """

    def records(self) -> Iterator[Record]:
        """Each line that is not blank.

        Raises:
            InvalidValueError: a line is no JSON object, or its id cannot be used.
        """
        with opened(self.file, ROWS) as stream:
            offset = 0
            for number, line in numbered(stream, self.file, ROWS):
                if line.removeprefix(_MARK).strip():
                    yield self._record(line, offset, number)
                offset += len(line)

    def read(self, place: Place) -> Record:
        """The record of the line at (offset, number)."""
        offset, number = place
        with opened(self.file, ROWS) as stream:
            stream.seek(offset)
            return self._record(stream.readline(), offset, number)

    def _record(self, line: bytes, offset: int, number: int) -> Record:
        values = parsed(line.removeprefix(_MARK), number, self.file, ROWS)
        where = f"Line {number} of {self.name}"
        return record_of(values, (offset, number), str(number), where)


@dataclass(frozen=True)
class Pictures:
    """Pictures, or folders of them, with one question about each.

    A record's id is its name, for a folder the path within it; it is at (index of the name in `names`, id).
    """

    names: tuple[str | Path, ...]
    question: str

    @property
    def name(self) -> str:
        """The first name, and how many more."""
        more = len(self.names) - 1
        return printable(self.names[0]) + (f" and {more} more" if more else "")

    @property
    def folder(self) -> Path:
        """The working directory; paths are as the user wrote them."""
        return Path()

    def records(self) -> Iterator[Record]:
        """Each picture; those of a folder, folders inside it too, in the order of names."""
        for index, name in enumerate(self.names):
            for id_ in _inside(Path(name)) if os.path.isdir(name) else [str(name)]:
                yield self.read((index, id_))

    def read(self, place: Place) -> Record:
        """The record of one picture."""
        index, id_ = place
        name = self.names[index]
        image = str(Path(name) / id_) if os.path.isdir(name) else str(name)
        if not image.isascii() and any(0xD800 <= ord(letter) < 0xE000 for letter in image):
            raise InvalidValueError(
                f"{printable(image)} has a name that is no UTF-8, which no row can hold; rename it."
            )
        return Record(place=place, id=id_, values={"id": id_, "image": image, "question": self.question})


def record_of(values: dict[str, Any], place: Place, default: str, where: str) -> Record:
    """The record of a row's fields.

    Args:
        values: the fields.
        place: where the row is.
        default: the id of a plain row that has none.
        where: how messages call the row.

    Raises:
        InvalidValueError: the id is missing in OpenAI's shape, empty, or of a wrong type.
    """
    openai = "custom_id" in values or "body" in values
    field = "custom_id" if openai else "id"
    found = values.get(field, None if openai else default)
    whole = isinstance(found, int) and not isinstance(found, bool) and not openai
    if not (isinstance(found, str) and found) and not whole:
        held = f"{field} {printable(repr(found), 60)}" if field in values else f"no {field}"
        raise InvalidValueError(f"{where} has {held}, and needs a text there; give each row an id of its own.")
    return Record(place=place, id=str(found), values=values, openai=openai)


def left_out(folder: Path) -> int:
    """Number of files and folders within a folder that are not taken.

    They are files without an image's suffix, hidden ones, and links to folders.
    """
    return sum(not _is_picture(path) for path in _files(folder, ""))


def _inside(folder: Path) -> Iterator[str]:
    """Paths of the pictures within a folder, relative to it."""
    return (path for path in _files(folder, "") if _is_picture(path))


def _is_picture(path: str) -> bool:
    name = path.rpartition("/")[2]
    return os.path.splitext(name)[1].lower() in PICTURES and not name.startswith(".")


def _files(folder: Path, before: str) -> Iterator[str]:
    """Paths of all files within a folder, with `/`, in the order of names.

    Hidden folders and links to folders are not looked into, and come as files do.
    """
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            yield from _files(folder / entry.name, f"{before}{entry.name}/")
        else:
            yield before + entry.name
