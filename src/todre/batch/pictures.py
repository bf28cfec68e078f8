"""Pictures of rows: opened for a model, or made `data:` URLs for a server."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from todre.images import has_several
from todre.inputs import open_picture as open_named
from todre.inputs import open_with_bytes, picture_of, reading_for
from todre.inputs.data_urls import data_url

PictureSource = str | bytes
"""A name, as `todre.inputs.open_picture` takes it, or the bytes of a file."""
_STDIN = "can only be named on a command line"
_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_ORIENTATION = 0x0112


def open_picture(picture: PictureSource, folder: Path, urls: bool = False) -> Image.Image:
    """The picture as an upright RGB image.

    Args:
        picture: its name, with paths relative to `folder`, or the bytes of a file.
        folder: where paths begin.
        urls: whether addresses of the web are fetched.

    Raises:
        ImageError: it cannot be read, or is an address, and none is fetched.
    """
    if isinstance(picture, bytes):
        return picture_of(picture, "The picture in the row")
    return open_named(picture, reading_for(urls, folder, _STDIN))


def url_of(picture: PictureSource, folder: Path, urls: bool = False) -> str:
    """The picture as a `data:` URL, for a server to see what a model here sees.

    Bytes go as they are where any server reads them alike: PNG, JPEG or WebP in RGB, one frame, upright. Everything
    else goes as PNG of what `open_picture` returns.

    Raises:
        ImageError: as by `open_picture`.
    """
    if isinstance(picture, bytes):
        read, data = open_picture(picture, folder), picture
    else:
        read, data = open_with_bytes(picture, reading_for(urls, folder, _STDIN))  # within the limits, or refused here
    media_type = _type_as_it_is(data)
    return (
        data_url(read) if media_type is None else f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    )


def _type_as_it_is(data: bytes) -> str | None:
    """The media type of bytes that any server reads as they are; None for others."""
    try:
        with Image.open(io.BytesIO(data)) as stored:
            plain = stored.mode == "RGB" and not stored.has_transparency_data
            upright = plain and stored.getexif().get(_ORIENTATION, 1) == 1
            return _AS_THEY_ARE.get(stored.format or "") if upright and not has_several(stored) else None
    except UnidentifiedImageError:  # HEIC or PDF
        return None
