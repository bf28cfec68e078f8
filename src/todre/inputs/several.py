"""What stands for several pictures: folders, patterns, and ranges of pages."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from todre.errors import ImageError
from todre.files.locations import STDIN, located
from todre.files.names import printable, reason

PICTURES = frozenset((
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif", ".heic",
    ".heif",
))  # fmt: skip
"""Suffixes of the files that are taken from a folder."""
MOST_TOGETHER = 100
"""Most pictures that folders, patterns and pages may stand for in one question."""


def named_pictures(texts: Sequence[str], most: int | None = MOST_TOGETHER) -> tuple[str, ...]:
    """The names of single pictures that texts stand for, in order.

    A folder stands for the pictures that lie in it, a pattern such as `*.png` for the files that it fits, both in
    natural order of their names (2 before 10), and `a.pdf#page=2-4` for three pages. Whatever else stands for itself.

    Args:
        texts: as they were written.
        most: most pictures that may come of them where one stands for several; None for any number.

    Raises:
        ImageError: nothing fits, too much does, or standard input is named twice.
    """
    if list(texts).count(STDIN) > 1:
        raise ImageError("'-' is standard input, which holds one picture, and it is given twice; give it once.")
    found: list[str] = []
    for text in texts:
        one = list(_expanded(text))
        if most is not None and one != [text] and len(found) + len(one) > most:
            raise ImageError(
                f"{printable(text)} makes it {len(found) + len(one):,} pictures, and at most {most} go together; name "
                "fewer."
            )
        found += one
    return tuple(found)


def one_picture(text: str) -> str:
    """The name of the single picture that a text stands for.

    Raises:
        ImageError: it stands for several, or for none.
    """
    found = named_pictures((text,), None)
    if len(found) > 1:
        raise ImageError(f"{printable(text)} stands for {len(found):,} pictures, and one is taken here; name one.")
    return found[0]


def matches(pattern: str) -> list[str] | None:
    """The files that a pattern fits, in natural order.

    None for a text that is no pattern, or is a file's own name.

    Raises:
        ImageError: it fits none.
    """
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        return None
    found = sorted(glob.glob(pattern, recursive=True), key=natural)
    if not found:
        raise ImageError(f"{printable(pattern)} fits no file; check the pattern.")
    return found


def natural(name: str) -> tuple[tuple[tuple[str, int], ...], str]:
    """What names are sorted by: 2 comes before 10, in either case of letters."""
    pieces = re.split(r"([0-9]+)", name)
    texts, numbers = pieces[::2], [int(piece) for piece in pieces[1::2]]
    return tuple(zip((text.casefold() for text in texts), (*numbers, -1), strict=True)), name


def _expanded(text: str) -> Iterator[str]:
    place = located(text)
    if place.pages is not None and place.pages[0] < place.pages[1]:
        first, last = place.pages
        if last - first >= MOST_TOGETHER:
            raise ImageError(f"{printable(text)} names more than {MOST_TOGETHER} pages; name fewer.")
        name = text.rpartition("#")[0]
        yield from (f"{name}#page={number}" for number in range(first, last + 1))
        return
    if place.kind != "path" or place.path is None or place.pages is not None:
        yield text
        return
    if os.path.isdir(place.path):
        yield from _inside(place.path)
        return
    fitting = matches(text)
    if fitting is None:
        yield text
        return
    files = [name for name in fitting if not os.path.isdir(name)]
    if not files:
        raise ImageError(f"{printable(text)} fits folders only; name what lies in them, such as {printable(text)}/*.")
    yield from files


def _inside(folder: Path) -> list[str]:
    """The pictures in a folder itself, told by their suffixes; none that is hidden."""
    try:
        names = [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
    except OSError as error:
        raise ImageError(f"{printable(folder)} cannot be read ({reason(error)}); check its permissions.") from error
    taken = [name for name in names if Path(name).suffix.lower() in PICTURES and not name.startswith(".")]
    if not taken:
        raise ImageError(f"{printable(folder)} is a directory without pictures; give an image file, or another one.")
    return [str(folder / name) for name in sorted(taken, key=natural)]
