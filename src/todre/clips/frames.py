"""Decode the frames that were chosen: all of the clip once, keeping few, or from the keyframes before them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from PIL import Image

from todre.clips.clip import ClipWarning
from todre.clips.orientation import has_odd_angle, upright
from todre.clips.source import Source, check_size, damaged
from todre.clips.survey import Survey, decoding_cost, key_before
from todre.errors import ClipError

Progress = Callable[[int, int], None]

WORTH_SEEKING = 600
"""Clips of fewer frames are decoded whole, which also finds damage between the chosen frames."""

_ONE_FRAME_A_PACKET = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "vp9", "av1", "mjpeg", "prores", "ffv1"}


@dataclass(frozen=True)
class Shown:
    """One decoded frame: when it is shown, in the stream's time base (None where the file does not say), and itself."""

    time: int | None
    picture: Image.Image


@dataclass(frozen=True)
class Decoded:
    """The frames that were kept, by number; the number of all frames, and when the last of all is shown."""

    kept: dict[int, Shown]
    total: int
    last: int | None


def decode_whole(source: Source, wanted: Collection[int], expected: int, progress: Progress) -> Decoded:
    """Decode every frame in the order of presentation and keep those numbered `wanted`.

    Raises:
        ClipError: a frame is damaged, or of another size than the first.
        av.FFmpegError: the stream is damaged.
    """
    kept: dict[int, Shown] = {}
    count, size, last = 0, None, None
    for frame in source.container.decode(source.stream):
        size = _checked(source, frame, count, size)
        if count in wanted:
            kept[count] = Shown(frame.pts, upright(frame))
        count, last = count + 1, frame.pts
        progress(min(count, expected), expected)
    return Decoded(kept, count, last)


def seeking_pays(source: Source, found: Survey, wanted: Collection[int]) -> bool:
    """Whether frames can be reached exactly by seeking, and for less than a quarter of the work.

    A packet must be a frame, and each have its own time: then a frame's number is the rank of its time.
    """
    exact = bool(found.times) and source.codec in _ONE_FRAME_A_PACKET
    return exact and found.count >= WORTH_SEEKING and decoding_cost(found, wanted) < found.count / 4


def decode_by_seeking(source: Source, found: Survey, wanted: Collection[int], progress: Progress) -> Decoded | None:
    """Decode from the keyframe before each wanted frame; None as soon as anything is not where it was expected."""
    numbers = {found.times[number]: number for number in wanted}
    kept: dict[int, Shown] = {}
    size = None
    for key, group in groupby(sorted(numbers), lambda time: key_before(found, time)):
        left = set(group)
        for frame in _decode_from(source, key):
            if frame.pts in left:
                size = _checked(source, frame, numbers[frame.pts], size)
                kept[numbers[frame.pts]] = Shown(frame.pts, upright(frame))
                left.remove(frame.pts)
                progress(len(kept), len(numbers))
            if not left or (frame.pts is not None and frame.pts >= max(left)):
                break
        if left:
            return None
    return Decoded(kept, found.count, found.times[-1])


def _decode_from(source: Source, key: int | None) -> Any:
    """Frames from the keyframe shown at `key` on; none where seeking does not arrive exactly there."""
    if key is None:
        return
    source.container.seek(key, stream=source.stream, backward=True)
    first = True
    for packet in source.container.demux(source.stream):
        if first and not (packet.is_keyframe and packet.pts == key):
            return
        first = False
        yield from packet.decode()


def _checked(source: Source, frame: Any, number: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """The frame's (width, height), which must be that of the frames before it."""
    if frame.is_corrupt:
        raise damaged(source.path, f"frame {number}")
    here = (frame.width, frame.height)
    if size is None:
        check_size(source.path, *here)
        if has_odd_angle(frame):
            sentence = f"{source.path} is turned by an odd angle; its frames are used as they are stored."
            warnings.warn(sentence, ClipWarning, stacklevel=2)
    elif here != size:
        raise ClipError(
            f"{source.path} changes its size from {size[0]} × {size[1]} to {here[0]} × {here[1]} pixels at frame "
            f"{number}; encode it anew in one size."
        )
    return here
