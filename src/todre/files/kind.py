"""Kinds of files: what a file should hold, and the error to raise if it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from todre.errors import InvalidValueError, TodreError
from todre.files.names import printable
from todre.files.shapes import OBJECT, Shape

MOST_BYTES = 8 * 2**20
"""Largest document, and longest line of a file of lines, in bytes.

The largest files that this package writes have a fifth of this size.
"""


@dataclass(frozen=True)
class Kind:
    """What a file should hold, and the error to raise if it does not.

    Args:
        hint: what the user can do about a wrong file; the end of a sentence.
        shape: shape of the document, or of each line.
        error: type of the error to raise.
        most: largest size of the file, in bytes.
        line: largest size of a line, in bytes, where the file is read by lines.
        lenient: True for files that other programs write: NaN and Infinity, which Python's JSON writes, are numbers,
            and the last of two entries with one name counts.
    """

    hint: str
    shape: Shape = OBJECT
    error: type[TodreError] = InvalidValueError
    most: int = MOST_BYTES
    line: int = MOST_BYTES
    lenient: bool = False

    def wrong(self, where: str | Path, what: str) -> TodreError:
        """The error for a file: where, what is wrong, and what to do."""
        return self.error(f"{printable(where) if isinstance(where, Path) else where} {what}; {self.hint}.")
