"""Pictures in `data:` URLs, read within the limits that hold for files."""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from PIL import Image

from todre.errors import ImageError
from todre.files import printable
from todre.images import as_rgb, decode_image

_HEAD = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)
_IMAGE_TYPE = re.compile(r"image/[\w.+-]+", re.IGNORECASE)
_MOST_HEAD = 1024
_MOST_SHOWN = 40
_BLANKS = b" \t\r\n\f"
_NAME = "The picture of the data: URL"


def is_data_url(url: str) -> bool:
    """Whether a text is a `data:` URL, readable or not."""
    return url[:5].lower() == "data:"


def read_data_url(url: str, most: int | None = None) -> Image.Image:
    """Read the picture of a `data:` URL as `todre.images.open_image` reads a file.

    Args:
        url: `data:image/png;base64,…` or, without `;base64`, percent-encoded bytes. The media type must be one of
            images; which format the bytes have is told from the bytes.
        most: largest picture, in pixels; None for that of `todre.images`.

    Returns:
        A loaded PIL image of mode "RGB", upright, within the limits of `todre.images`.

    Raises:
        ImageError: the text is no `data:` URL of an image, or its bytes are no picture that can be read. The message
            is short, however long the URL is.
    """
    return decode_image(bytes_of_data_url(url), _NAME, most)


def bytes_of_data_url(url: str) -> bytes:
    """The bytes of the file in a `data:` URL of an image, whatever they are.

    Raises:
        ImageError: the text is no `data:` URL of an image.
    """
    head = _HEAD.match(url, 0, _MOST_HEAD)
    if head is None:
        shown = printable(url[:_MOST_SHOWN] + ("…" if len(url) > _MOST_SHOWN else ""))
        _refuse(f"'{shown}' is no data: URL of an image")
    media_type = head["type"].strip()
    if not _IMAGE_TYPE.fullmatch(media_type):
        held = f"the media type '{printable(media_type, _MOST_SHOWN)}'" if media_type else "no media type"
        _refuse(f"The data: URL has {held}, and needs that of an image")
    try:
        data = unquote_to_bytes(url[head.end() :])
    except UnicodeEncodeError:  # a lone surrogate, as bytes of the command line that are no text become
        _refuse("The data: URL holds characters that no URL can have")
    parameters = head["parameters"].lower().split(";")
    if parameters[-1].strip() == "base64":
        data = _from_base64(data)
    return data


def data_url(image: Image.Image) -> str:
    """The `data:` URL of a picture: PNG, without loss, in base64.

    Pictures of other modes than RGB are made RGB as files are: transparency is composited on white, and so on.
    """
    stream = io.BytesIO()
    as_rgb(image).save(stream, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _from_base64(data: bytes) -> bytes:
    """The bytes of base64, whose padding may be missing and whose lines may be broken."""
    letters = data.translate(None, _BLANKS)
    try:
        return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except binascii.Error:
        _refuse("The data: URL holds something that is no base64")


def _refuse(what: str) -> NoReturn:
    raise ImageError(f"{what}; write 'data:image/png;base64,' and the bytes of the image file in base64.")
