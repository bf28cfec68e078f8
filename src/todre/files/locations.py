"""Where a picture's file is: what a text that names a picture means.

Nothing is opened here; only whether a file of a name is there is looked up.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from todre.errors import ImageError
from todre.files.names import printable

STDIN = "-"
"""The name of standard input; a file of this name is `./-`."""
_PAGES = re.compile(r"(?:page=)?(?P<first>\d{1,6})(?:-(?P<last>\d{1,6}))?")
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PDF = ".pdf"

LocationKind = Literal["path", "stdin", "data", "web"]


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where the file of a picture is.

    Attributes:
        kind: a path, standard input, a `data:` URL, or an address of the web.
        text: what was written, of an address without the pages.
        path: the file, for a path alone.
        pages: first and last page that are named, counted from 1; None where none is.
    """

    kind: LocationKind
    text: str
    path: Path | None = None
    pages: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """What results call the picture: what was written, of a `data:` URL a digest."""
        return label_of(self.text)


def located(text: str, folder: Path = Path()) -> Location:
    """What a text that names a picture means.

    It is a path, a `file://` URL, a `data:` URL, an `http` or `https` address, or `-`. `#page=3`, `#3` or `#page=2-4`
    behind a name chooses pages of a PDF, unless a file has just that name.

    Args:
        text: the name.
        folder: where paths begin.

    Raises:
        ImageError: an empty text, an address of another kind, a `file://` URL of another machine, or pages that cannot
            be.
    """
    if not text:
        raise ImageError("An empty name names no picture; give a path, or . for the pictures of this folder.")
    if text == STDIN:
        return Location(kind="stdin", text=text)
    if text[:5].lower() == "data:":
        return Location(kind="data", text=text)
    found = _SCHEME.match(text)
    if found is None:
        return _of_path(text, folder)
    scheme = found["scheme"].lower()
    address, _, fragment = text.partition("#")
    if scheme in ("http", "https"):
        return Location(kind="web", text=address, pages=_pages(fragment, text))
    if scheme == "file":
        return Location(kind="path", text=text, path=_of_url(address, text), pages=_pages(fragment, text))
    raise ImageError(
        f"{printable(text)} is an address that is not read; give a path, or a file://, data:, http or https URL."
    )


def local_file(text: str, folder: Path = Path()) -> Path | None:
    """The file that a text names, whether it is there or not; None for anything else.

    A text that means nothing names no file either.
    """
    with suppress(ImageError):
        return located(text, folder).path
    return None


def label_of(text: str) -> str:
    """What results call a picture: its name; of a `data:` URL the type and a digest."""
    if text[:5].lower() != "data:":
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{printable(text.partition(',')[0], 60)},sha256={digest[:16]}"


def names_picture(text: str) -> bool:
    """Whether a text is an address of a picture, or names a file that is there."""
    if text[:5].lower() == "data:" or re.match(r"(?:https?|file)://\S+$", text, re.IGNORECASE):
        return True
    return is_there(local_file(text))


def is_there(path: Path | None) -> bool:
    """Whether a path leads to a file; False for one that no file can have."""
    return path is not None and os.path.isfile(path)


def _of_path(text: str, folder: Path) -> Location:
    name, mark, fragment = text.rpartition("#")
    if not mark or is_there(folder / text) or not _PAGES.fullmatch(fragment):
        return Location(kind="path", text=text, path=folder / text)
    if not name.lower().endswith(_PDF) and not is_there(folder / name):
        return Location(kind="path", text=text, path=folder / text)
    return Location(kind="path", text=text, path=folder / name, pages=_pages(fragment, text))


def _of_url(address: str, text: str) -> Path:
    """The path in a `file://` URL."""
    try:
        parts = urlsplit(address)
        host, path = parts.netloc.lower(), parts.path + (f"?{parts.query}" if parts.query else "")
    except ValueError:
        host, path = "?", ""
    if host not in ("", "localhost") or not path.startswith("/") or "\0" in unquote(path):
        raise ImageError(
            f"{printable(text)} is no file:// URL of a file on this machine; write file:/// and the whole path."
        )
    from urllib.request import url2pathname  # late, for it brings the whole of HTTP

    return Path(url2pathname(path))


def _pages(fragment: str, text: str) -> tuple[int, int] | None:
    """The pages that the end of a name chooses; None where it says nothing of pages."""
    found = _PAGES.fullmatch(fragment)
    if found is None:
        return None
    first = int(found["first"])
    last = int(found["last"] or first)
    if not 1 <= first <= last:
        raise ImageError(f"{printable(text)} names no pages; count them from 1, such as #page=3 or #page=2-4.")
    return first, last
