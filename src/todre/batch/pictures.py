"""Pictures of rows: opened for a model, or made `data:` URLs for a server."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from todre.errors import ImageError
from todre.files import printable
from todre.images import decode_image, open_image
from todre.serving.data_urls import bytes_of_data_url, data_url, is_data_url, read_data_url

PictureSource = str | bytes
"""A path, a `data:` URL, or the bytes of a file."""
_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_ORIENTATION = 0x0112


def open_picture(picture: PictureSource, folder: Path) -> Image.Image:
    """The picture as an upright RGB image.

    Args:
        picture: a path relative to `folder`, a `data:` URL, or the bytes of a file.
        folder: where paths begin.

    Raises:
        ImageError: it cannot be read, or is an address, which is not fetched.
    """
    if isinstance(picture, bytes):
        return decode_image(picture, "The picture in the row")
    if is_data_url(picture):
        return read_data_url(picture)
    return open_image(_path(picture, folder))


def url_of(picture: PictureSource, folder: Path) -> str:
    """The picture as a `data:` URL, for a server to see what a model here sees.

    Bytes go as they are where any server reads them alike: PNG, JPEG or WebP in RGB, one frame, upright. Everything
    else goes as PNG of what `open_picture` returns.

    Raises:
        ImageError: as by `open_picture`.
    """
    read = open_picture(picture, folder)  # within the limits, or refused here
    if isinstance(picture, str):
        picture = bytes_of_data_url(picture) if is_data_url(picture) else _path(picture, folder).read_bytes()
    with Image.open(io.BytesIO(picture)) as stored:
        media_type = _AS_THEY_ARE.get(stored.format or "")
        plain = stored.mode == "RGB" and getattr(stored, "n_frames", 1) == 1 and not stored.has_transparency_data
        if media_type and plain and stored.getexif().get(_ORIENTATION, 1) == 1:
            return f"data:{media_type};base64,{base64.b64encode(picture).decode('ascii')}"
    return data_url(read)


def _path(picture: str, folder: Path) -> Path:
    scheme = picture.partition(":")[0].lower() if "://" in picture else ""
    if scheme in ("http", "https"):
        raise ImageError(
            f"{printable(picture)} is an address, and nothing is fetched; download the picture and give its path."
        )
    if scheme:
        raise ImageError(f"{printable(picture)} is an address, and pictures are paths or data: URLs; give a path.")
    return folder / picture
