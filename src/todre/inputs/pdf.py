"""Pages of PDF files as pictures, drawn by PDFium (extra `pdf`)."""

from __future__ import annotations

import importlib.util
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from todre.errors import ImageError, MissingDependencyError
from todre.files.names import reason
from todre.images import ImageWarning, as_rgb, check_extent

DPI = 150
"""Resolution of pages, in pixels per inch; A4 has 1240 × 1754 pixels."""
PAGE_PIXELS = 16_000_000
"""Most pixels of a page; a poster is drawn at a lower resolution."""
_POINTS = 72.0
_JUST = 1 - 1e-6
"""Keeps sides that are whole pixels, but for rounding, from being rounded up."""
_BEFORE = b"\xef\xbb\xbf \t\r\n\0"
_PASSWORD, _SECURITY = 4, 5
_ONE_AT_A_TIME = threading.Lock()
"""PDFium may not be called by two threads at once."""


def is_pdf(head: bytes) -> bool:
    """Whether a file's first bytes are those of a PDF."""
    return head[:1024].lstrip(_BEFORE).startswith(b"%PDF-")


def draw_page(data: bytes, name: str, page: int | None = None, most: int | None = None) -> Image.Image:
    """A page of a PDF, drawn on white.

    Its annotations and what is filled into its forms are drawn too.

    Args:
        data: the bytes of the file.
        name: what errors and warnings call the file.
        page: number of the page, from 1; None for the first, with an `ImageWarning` if there are more.
        most: largest picture, in pixels, if that is less than `PAGE_PIXELS`.

    Raises:
        ImageError: the file is damaged or protected by a password, has no such page, or the page is too thin.
        MissingDependencyError: pypdfium2 is not installed.
    """
    with _opened(data, name) as document:
        count = len(document)
        number = page or 1
        if not count:
            raise ImageError(f"{name} has no pages; get a complete copy of the file.")
        if number > count:
            held = f"{count} pages" if count > 1 else "1 page"
            raise ImageError(f"{name} has {held}, and page {number} was asked for; name one that is there.")
        picture = _drawn(document, number - 1, name, min(most or PAGE_PIXELS, PAGE_PIXELS))
    if page is None and count > 1:
        sentence = f"{name} has {count} pages; the first one is used, and #page=2 behind the name chooses another."
        warnings.warn(sentence, ImageWarning, stacklevel=3)
    return picture


def _drawn(document: Any, index: int, name: str, most: int) -> Image.Image:
    named = f"Page {index + 1} of {name}"
    try:
        page = document[index]
        width, height = page.get_size()
    except Exception as error:
        raise _damaged(named, error) from error
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ImageError(f"{named} has no area ({width:g} × {height:g} points); choose another page.")
    scale = _JUST * min(DPI / _POINTS, math.sqrt(most / (width * height)))
    check_extent(named, math.ceil(width * scale), math.ceil(height * scale))
    try:
        bitmap = page.render(scale=scale)
        return as_rgb(bitmap.to_pil())
    except Exception as error:
        raise _damaged(named, error) from error


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Any]:
    """The document, for a `with` block in which no other thread uses PDFium."""
    if importlib.util.find_spec("pypdfium2") is None:
        raise MissingDependencyError(
            f"{name} is a PDF, whose pages need pypdfium2; run `pip install 'todre[pdf]'`, or save the page as PNG."
        )
    with _ONE_AT_A_TIME:
        import pypdfium2

        try:
            document = pypdfium2.PdfDocument(data)
        except Exception as error:  # PDFium's own, or of the bytes
            if getattr(error, "err_code", None) in (_PASSWORD, _SECURITY) or "password" in str(error).lower():
                raise ImageError(f"{name} is protected by a password; save a copy without one.") from error
            raise _damaged(name, error) from error
        try:
            document.init_forms()
            yield document
        finally:
            document.close()


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is damaged and cannot be read ({reason(error)}); get a complete copy of the file.")
