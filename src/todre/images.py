"""Open image files as upright RGB pictures, with one clear error where that fails."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from todre.errors import ImageError
from todre.files import check_input, printable

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Image formats that are tried.

Formats that hold no pictures, or start an external program (PostScript), are left out.
"""

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded, in pixels (8,000 × 8,000; 192 MB as RGB).

A small file can claim any size.
"""

MAX_ASPECT = 200
"""Largest ratio of a picture's sides.

A processor that scales the short side up would make a thin strip enormous.
"""


_NEARLY_ALL, _OVERSHOOT, _DARK = 0.999, 0.1, 26
"""Limits for grey samples of more than 8 bits.

The share that a range has to hold, how far others may go beyond it without a warning, and the grey level that the
brightest has to reach.
"""


class ImageWarning(UserWarning):
    """The picture was read, but something of its file was left out.

    The part left out is an animation's later frames, or an unreadable tag.
    """


def open_image(path: str | Path) -> Image.Image:
    """Read an image file as an upright 8-bit RGB picture.

    Transparency is composited on white, the EXIF orientation is applied, 16-bit and float samples are scaled to 8 bits,
    CMYK is converted, and of an animation the first frame is taken (with an `ImageWarning`). Sizes from 1 × 1 up to
    `MAX_PIXELS` pixels are read, with sides up to `MAX_ASPECT` to 1.

    Args:
        path: file name; an address (`https://…`) is not opened.

    Returns:
        A loaded PIL image of mode "RGB" that holds no open file.

    Raises:
        ImageError: the path is missing, a directory, empty, truncated, too large, too thin or not an image.
    """
    path = Path(path)
    check_input(path, "image", ImageError)
    return _read(path, printable(path))


def decode_image(data: bytes, name: str, most: int | None = None) -> Image.Image:
    """Read the bytes of an image file as `open_image` reads a file.

    Args:
        data: what the file would hold.
        name: what errors and warnings call the picture; the start of a sentence.
        most: largest picture that is decoded, in pixels; None for `MAX_PIXELS`, and never more than that.

    Raises:
        ImageError: as by `open_image`.
    """
    if not data:
        raise ImageError(f"{name} is empty; send the bytes of an image file.")
    return _read(io.BytesIO(data), name, most)


def check_extent(name: str, width: int, height: int, most: int | None = None) -> None:
    """Raise unless a picture of `width` × `height` pixels may be decoded.

    Args:
        name: what the error calls the picture.
        width, height: its sides.
        most: largest picture, in pixels; None for `MAX_PIXELS`, and never more than that.

    Raises:
        ImageError: it is too large or too thin.
    """
    most = MAX_PIXELS if most is None else min(most, MAX_PIXELS)
    if width * height > most:
        raise ImageError(_too_large(name, f"{width} × {height}", most))
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{name} is a strip of {width} × {height} pixels, more than {MAX_ASPECT} times as long as wide; crop "
            "it to the part that matters."
        )


def image_sha256(image: Image.Image) -> str:
    """SHA-256 of the picture's size and its RGB bytes, in hexadecimal digits.

    Equal pixels give equal digests, whatever file they came from.
    """
    picture = image.convert("RGB")
    digest = hashlib.sha256(f"{picture.width}x{picture.height}:".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()


def upright(opened: Image.Image, name: str) -> Image.Image:
    """A copy of a picture, turned as its EXIF data says.

    Data that cannot be read is left out with an `ImageWarning`.

    Args:
        opened: the picture.
        name: what the warning calls it.
    """
    try:
        return ImageOps.exif_transpose(opened)
    except Exception:
        warnings.warn(f"{name} has unreadable EXIF data; it is used as stored.", ImageWarning, stacklevel=5)
        return opened.copy()


def as_rgb(image: Image.Image) -> Image.Image:
    """A fresh 8-bit RGB picture of any picture, transparency composited on white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _read(source: Path | IO[bytes], name: str, most: int | None = None) -> Image.Image:
    most = MAX_PIXELS if most is None else min(most, MAX_PIXELS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(source, formats=_readable_formats())
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(name, "more than 178 million", most)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that todre can read; use PNG, JPEG, WebP, GIF, BMP or TIFF."
        ) from error
    except Exception as error:  # a damaged header makes Pillow raise almost any type
        raise ImageError(f"{name} cannot be opened as an image ({_brief(error)}); save it anew as PNG.") from error
    with opened:
        check_extent(name, *opened.size, most)
        return _decode(opened, name)


def _readable_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _decode(opened: Image.Image, name: str) -> Image.Image:
    try:
        several = has_several(opened)
        opened.seek(0)
        opened.load()
        picture = as_rgb(upright(opened, name))
    except Exception as error:  # a damaged body makes Pillow raise almost any type
        raise ImageError(
            f"{name} is damaged and cannot be decoded ({_brief(error)}); get a complete copy of the file."
        ) from error
    if several and opened.format != "MPO":
        warnings.warn(f"{name} has several frames; the first one is used.", ImageWarning, stacklevel=4)
    return picture


def has_several(opened: Image.Image) -> bool:
    """Whether a file holds more than one frame; it may be at the second afterwards.

    Counting all would take minutes in a small file with a long chain of pages.
    """
    try:
        opened.seek(1)
    except EOFError:
        return False
    return True


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey samples of 16 bits, 32 bits or floats, scaled to 8 bits.

    Samples are scaled from the smallest usual range (0…255, 0…65535, 0…1, …) that holds nearly all of them; those
    beyond are cut off. A value that stands for transparency becomes white.

    Warns with an `ImageWarning` where samples are no numbers, are cut off visibly, or leave the picture nearly black.
    """
    values = np.asarray(image, dtype=np.float64)
    finite = values[np.isfinite(values)]
    tops = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0, 2.0**31 - 1)}.get(image.mode, (65535.0,))
    usual = float(np.quantile(finite, _NEARLY_ALL)) if finite.size else 0.0
    top = next((limit for limit in tops if usual <= limit), max(usual, 1.0))
    scaled = np.nan_to_num(values / top, nan=0.0, posinf=1.0, neginf=0.0)
    beyond = finite.size < values.size or bool(((scaled < -_OVERSHOOT) | (scaled > 1 + _OVERSHOOT)).any())
    result = np.rint(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)
    if beyond:
        _warn_of_samples(f"some samples are no numbers from 0 to {top:g}, and are cut off")
    elif finite.size and 0 < result.max() < _DARK:
        _warn_of_samples(f"its samples reach {usual:g} of {top:g}, so that it is nearly black; scale them first")
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):
        result[values == see_through] = 255
    return Image.fromarray(result, mode=None)


def _warn_of_samples(what: str) -> None:
    warnings.warn(f"A grey picture of more than 8 bits is made one of 8: {what}.", ImageWarning, stacklevel=6)


def _too_large(name: str, size: str, most: int) -> str:
    return (
        f"{name} is too large ({size} pixels, and the limit is {most:,}); "
        "scale it down first, no model looks at that many."
    )


def _brief(error: BaseException) -> str:
    """First line of an exception's text, without a trailing full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].rstrip(".")
