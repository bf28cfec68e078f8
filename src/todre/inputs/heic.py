"""Pictures of phones in HEIC files, read by pillow-heif (extra `heic`).

Nothing is registered in Pillow, which would change what other code of the process reads.
"""

from __future__ import annotations

import importlib.util
import warnings

from PIL import Image

from todre.errors import ImageError, MissingDependencyError
from todre.files.names import reason
from todre.images import ImageWarning, as_rgb, check_extent

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_MOST_BRANDS = 256


def is_heic(head: bytes) -> bool:
    """Whether a file begins as HEIC does, and not as AVIF, which Pillow reads."""
    if head[4:8] != b"ftyp" or head[8:12] not in _BRANDS:
        return False
    others = head[16 : min(int.from_bytes(head[:4], "big"), _MOST_BRANDS)]
    return not {b"avif", b"avis"} & {others[place : place + 4] for place in range(0, len(others), 4)}


def decode_heic(data: bytes, name: str, most: int | None = None) -> Image.Image:
    """The main picture of a HEIC file, as `todre.images.open_image` gives pictures.

    The file's own turns and mirrors are applied; an orientation in its EXIF data repeats them, and is not.

    Args:
        data: the bytes of the file.
        name: what errors and warnings call the picture.
        most: largest picture that is decoded, in pixels; None for that of `todre.images`.

    Raises:
        ImageError: the file is damaged, or its picture is too large or too thin.
        MissingDependencyError: pillow-heif is not installed.
    """
    if importlib.util.find_spec("pillow_heif") is None:
        raise MissingDependencyError(
            f"{name} is a HEIC file, which needs pillow-heif; run `pip install 'todre[heic]'`, or save it as JPEG."
        )
    import pillow_heif

    try:
        held = pillow_heif.open_heif(data)
        width, height = held.size
    except Exception as error:  # a damaged header makes libheif raise almost any type
        raise _damaged(name, error) from error
    check_extent(name, width, height, most)
    try:
        picture = as_rgb(held.to_pillow())
    except Exception as error:
        raise _damaged(name, error) from error
    if len(held) > 1:
        warnings.warn(f"{name} holds {len(held)} pictures; the main one is used.", ImageWarning, stacklevel=3)
    return picture


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is damaged and cannot be decoded ({reason(error)}); get a complete copy of the file.")
