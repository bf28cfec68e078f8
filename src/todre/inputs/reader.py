"""The reader of pictures and clips, from what a text names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from PIL import Image

from todre.clips import Clip, is_animation, is_clip, open_animation, open_clip
from todre.errors import ImageError
from todre.files import check_input, printable
from todre.files.locations import Location, located
from todre.files.names import reason
from todre.images import decode_image, open_image
from todre.inputs.data_urls import bytes_of_data_url
from todre.inputs.heic import decode_heic, is_heic
from todre.inputs.http_pictures import FetchRules, fetch_picture
from todre.inputs.pdf import draw_page, is_pdf

MOST_BYTES = 500_000_000
"""Largest file that is read into memory: a PDF, HEIC, or standard input."""
_HEAD = 1024
_PIECE = 1 << 20


def _anywhere(address: object) -> bool:
    return True


WEB = FetchRules(
    most_bytes=100_000_000, seconds=60.0, together=inf, allowed=_anywhere, instead="download it and give its path"
)
"""What may be fetched for a command's user, the own network included."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How texts that name pictures are read.

    Attributes:
        folder: where paths begin.
        web: what may be fetched from the web; None fetches nothing.
        advice: what to do about an address while nothing is fetched; the end of a sentence.
        stdin: why `-` cannot be standard input here, the middle of a sentence; empty where it is.
    """

    folder: Path = Path()
    web: FetchRules | None = None
    advice: str = "download the picture and give its path"
    stdin: str = "can only be named on a command line"

    def located(self, text: str) -> Location:
        """What a text means, if it may be read.

        Raises:
            ImageError: it may not, or means nothing.
        """
        place = located(text, self.folder)
        if place.kind == "web" and self.web is None:
            raise ImageError(f"{printable(text)} is an address, and nothing is fetched; {self.advice}.")
        if place.kind == "stdin" and self.stdin:
            raise ImageError(f"'-' is standard input, which {self.stdin}; give a path, ./- for a file of that name.")
        return place


def reading_for(urls: bool, folder: Path = Path(), stdin: str = "") -> Reading:
    """How a command with the option --allow-urls reads what it is given.

    Args:
        urls: whether the option was given.
        folder, stdin: as `Reading` has them.
    """
    advice = "add --allow-urls, or download the picture and give its path"
    return Reading(folder=folder, web=WEB if urls else None, advice=advice, stdin=stdin)


def open_picture(text: str, reading: Reading = Reading()) -> Image.Image:
    """The picture that a text names, upright and RGB.

    It is read as `todre.images.open_image` reads a file, within the same limits.

    Args:
        text: a path, a `file://` or `data:` URL, an address of the web, or `-`; with `#page=3` for a page of a PDF.
        reading: what of it is read.

    Raises:
        ImageError: it may not be read, or is no picture.
        MissingDependencyError: an optional package is needed for it.
    """
    return _picture(reading.located(text), reading)


def open_medium(
    text: str,
    frames: int,
    reading: Reading = Reading(),
    animated: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Image.Image | Clip:
    """The picture or clip that a text names; a file's content decides between the two.

    Args:
        text: as for `open_picture`; also the path of a video.
        frames: number of frames to take of a clip.
        reading: what of it is read.
        animated: True takes an animated GIF, WebP or PNG as a clip, False its first frame.
        progress: called after each decoded frame with (frames decoded, frames to decode).

    Raises:
        ImageError, ClipError: it may not be read, or is neither.
        MissingDependencyError: an optional package is needed for it.
    """
    place = reading.located(text)
    if place.path is not None and place.pages is None and is_clip(place.path):
        return open_clip(place.path, frames, progress)
    if not animated:
        return _picture(place, reading)
    if place.path is not None:
        check_input(place.path, "image", ImageError)
        source: Path | bytes = place.path
    else:
        source = _bytes(place, reading)
    if place.pages is None and is_animation(source):
        return open_animation(source, _name(place), frames, progress)
    return _picture(place, reading) if isinstance(source, Path) else picture_of(source, _name(place), place.pages)


def open_with_bytes(text: str, reading: Reading = Reading()) -> tuple[Image.Image, bytes]:
    """The picture that a text names, and the bytes of its file; each is read once.

    Raises:
        ImageError, MissingDependencyError: as by `open_picture`.
    """
    place = reading.located(text)
    data = _bytes(place, reading)
    return picture_of(data, _name(place), place.pages), data


def picture_of(data: bytes, name: str, pages: tuple[int, int] | None = None, most: int | None = None) -> Image.Image:
    """The picture in the bytes of a file, told by what they are.

    Args:
        data: the bytes: an image, HEIC or PDF.
        name: what errors and warnings call it.
        pages: the page of a PDF that is meant, twice; None for the first.
        most: largest picture, in pixels; None for that of `todre.images`.

    Raises:
        ImageError: they are no picture within the limits, or several pages are named.
        MissingDependencyError: an optional package is needed.
    """
    if pages is not None and pages[0] != pages[1]:
        raise ImageError(f"{name} is meant with {pages[1] - pages[0] + 1} pages, and one is taken here; name one.")
    if is_pdf(data):
        return draw_page(data, name, pages and pages[0], most)
    if pages is not None:
        raise ImageError(f"{name} is no PDF and has no pages; leave #page={pages[0]} out.")
    if is_heic(data[:_HEAD]):
        return decode_heic(data, name, most)
    return decode_image(data, name, most)


def _picture(place: Location, reading: Reading) -> Image.Image:
    if place.path is None:
        return picture_of(_bytes(place, reading), _name(place), place.pages)
    check_input(place.path, "image", ImageError)
    head = _read(place.path, _HEAD)
    if place.pages is None and not is_pdf(head) and not is_heic(head):
        return open_image(place.path)
    return picture_of(_bytes(place, reading), _name(place), place.pages)


def _name(place: Location) -> str:
    """What errors and warnings call a picture; the start of a sentence."""
    if place.kind == "stdin":
        return "The picture of standard input"
    if place.kind == "data":
        return "The picture of the data: URL"
    return printable(place.text if place.path is None else place.path)


def _bytes(place: Location, reading: Reading) -> bytes:
    if place.kind == "data":
        return bytes_of_data_url(place.text)
    if place.kind == "web" and reading.web is not None:
        return fetch_picture(place.text, reading.web)
    if place.path is None:
        return _standard_input()
    check_input(place.path, "image", ImageError)
    if place.path.stat().st_size > MOST_BYTES:
        raise _too_large(printable(place.path))
    return _read(place.path)


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise ImageError(f"{printable(path)} cannot be read ({reason(error)}); check its permissions.") from error


def _standard_input() -> bytes:
    """All of standard input, which a command reads once."""
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise ImageError("'-' is standard input, and no picture comes from there; pipe one in, or give a path.")
    pieces, size = [], 0
    while piece := stream.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise _too_large("Standard input")
    if not size:
        raise ImageError("Standard input is empty; pipe the bytes of an image file in, or give a path.")
    return b"".join(pieces)


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name} has more than {MOST_BYTES:,} bytes; scale the picture down first.")
