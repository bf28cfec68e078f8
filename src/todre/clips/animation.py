"""Animated GIF, WebP and PNG files as clips: frames, and how long each is shown."""

from __future__ import annotations

import io
import warnings
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import Image

from todre.clips.clip import MAX_PIXELS, Clip, ClipWarning
from todre.clips.source import check_size
from todre.clips.survey import frame_numbers
from todre.errors import ClipError, InvalidValueError
from todre.files.names import reason
from todre.images import as_rgb, upright

FORMATS = ("GIF", "WEBP", "PNG")
"""Pillow's names of the formats that can move."""
MAX_FRAMES = 20_000
"""Most frames of an animation; each is decoded, whether it is taken or not."""
UNSAID = 0.1
"""Seconds that a frame is shown which states no time; browsers show it as long."""


def is_animation(source: Path | bytes) -> bool:
    """Whether a file, or its bytes, is a GIF, WebP or PNG of several frames.

    False for what cannot be read.
    """
    try:
        with _opened(source) as opened:
            return _count(opened) > 1
    except Exception:  # damage, of which whoever reads it as a picture says more
        return False


def open_animation(
    source: Path | bytes, name: str, frames: int = 8, progress: Callable[[int, int], None] | None = None
) -> Clip:
    """Read `frames` frames of an animated GIF, WebP or PNG, spread evenly.

    The same frames are taken as by `open_clip`: of N frames those numbered ⌊i · N / frames⌋. Each is what a viewer
    shows, on white, and its time is the sum of the times for which those before it are shown. A frame that states no
    time counts for 0.1 s.

    Args:
        source: a file, or its bytes.
        name: what errors and warnings call it.
        frames: number of frames to take, at least 1.
        progress: called after each decoded frame with (frames decoded, frames to decode).

    Raises:
        ClipError: it is damaged, has too many frames, or they are too large.
        InvalidValueError: `frames` is not a whole number of at least 1.
    """
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise InvalidValueError(f"frames must be a whole number of at least 1, not {frames!r}.")
    try:
        with _opened(source) as opened:
            total = _count(opened)
            _check(name, opened.size, total, min(frames, total))
            numbers = frame_numbers(total, frames)
            shown, seconds = _decoded(opened, name, total, numbers, progress or (lambda done, whole: None))
    except (ClipError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # a damaged file makes Pillow raise almost any type
        raise ClipError(
            f"{name} is damaged and cannot be decoded ({reason(error)}); get a complete copy of the file."
        ) from error
    if total < frames:
        some = f"{total} frames" if total > 1 else "1 frame"
        warnings.warn(f"{name} has {some}, and {frames} were asked for; all are used.", ClipWarning, stacklevel=3)
    starts = list(accumulate(seconds, initial=0.0))
    stamps = tuple(starts[number] for number in numbers)
    return Clip(tuple(shown), numbers, stamps, total / starts[-1], starts[-1], total)


def _check(name: str, size: tuple[int, int], total: int, taken: int) -> None:
    if total > MAX_FRAMES:
        raise ClipError(f"{name} has {total:,} frames, and the limit is {MAX_FRAMES:,}; save it as a video, or cut it.")
    check_size(name, *size)
    together = taken * size[0] * size[1]
    if together > MAX_PIXELS:
        raise ClipError(
            f"{name} would give {together:,} pixels in {taken} frames, and the limit is {MAX_PIXELS:,}; ask for fewer "
            "frames, or scale it down."
        )


def _opened(source: Path | bytes) -> Image.Image:
    file: Any = source if isinstance(source, Path) else io.BytesIO(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


def _count(opened: Image.Image) -> int:
    """Frames of the animation, without a still picture that stands before it."""
    return int(getattr(opened, "n_frames", 1)) - _before(opened)


def _before(opened: Image.Image) -> int:
    """1 where a PNG's first picture is only for viewers that show no animation."""
    return int(bool(getattr(opened, "default_image", False)))


def _decoded(
    opened: Image.Image, name: str, total: int, numbers: tuple[int, ...], progress: Callable[[int, int], None]
) -> tuple[list[Image.Image], list[float]]:
    """The chosen frames, and the seconds for which each of all frames is shown."""
    shown: list[Image.Image] = []
    seconds: list[float] = []
    first = _before(opened)
    for number in range(total):
        opened.seek(first + number)
        opened.load()
        seconds.append(float(opened.info.get("duration") or 0) / 1000 or UNSAID)
        place = bisect_left(numbers, number)
        if place < len(numbers) and numbers[place] == number:
            shown.append(as_rgb(upright(opened, name)))
        progress(number + 1, total)
    return shown, seconds
