"""Decode the chosen frames of a video file.

Either the whole clip is decoded once and the chosen frames are kept, or each chosen frame is decoded from the keyframe
before it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from PIL import Image

from todre.clips.clip import ClipWarning
from todre.clips.orientation import has_odd_angle, upright
from todre.clips.source import Source, check_size, damage_error
from todre.clips.survey import Survey, decoding_cost, key_before
from todre.errors import ClipError

Progress = Callable[[int, int], None]

WORTH_SEEKING = 600
"""Fewest frames of a clip that is decoded by seeking.

Shorter clips are decoded whole, which also finds damage between the chosen frames.
"""

_ONE_FRAME_A_PACKET = {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "vp9", "av1", "mjpeg", "prores", "ffv1"}


@dataclass(frozen=True)
class Shown:
    """A decoded frame and its time.

    Attributes:
        time: when the frame is shown, in the stream's time base; None where the file does not say.
        picture: the frame as an upright RGB picture.
    """

    time: int | None
    picture: Image.Image


@dataclass(frozen=True)
class Decoded:
    """The chosen frames of a clip, and facts about all of its frames.

    Attributes:
        kept: number of a frame (from 0) → the frame.
        total: number of frames in the clip.
        last: when the last frame of the clip is shown, in the stream's time base; None where the file does not say.
    """

    kept: dict[int, Shown]
    total: int
    last: int | None


def decode_whole(source: Source, numbers: Collection[int], expected: int, progress: Progress) -> Decoded:
    """Decode every frame in the order of presentation, and keep those in `numbers`.

    Args:
        source: the open file.
        numbers: numbers (from 0) of the frames to keep.
        expected: frames that the clip should have, for `progress`.
        progress: called after each frame with (frames decoded, frames expected).

    Raises:
        ClipError: a frame is damaged, or differs in size from the first.
        av.FFmpegError: the stream is damaged.
    """
    kept: dict[int, Shown] = {}
    count, size, last = 0, None, None
    for frame in source.container.decode(source.stream):
        size = _checked(source, frame, count, size)
        if count in numbers:
            kept[count] = Shown(frame.pts, upright(frame))
        count, last = count + 1, frame.pts
        progress(min(count, expected), expected)
    return Decoded(kept, count, last)


def seeking_pays(source: Source, packets: Survey, numbers: Collection[int]) -> bool:
    """True if seeking is exact and takes less than a quarter of a whole decode.

    Seeking is exact if every packet is a frame with a time of its own: a frame's number is then the rank of its time.
    The clip must also have at least `WORTH_SEEKING` packets.
    """
    exact = bool(packets.times) and source.codec in _ONE_FRAME_A_PACKET
    return exact and packets.count >= WORTH_SEEKING and decoding_cost(packets, numbers) < packets.count / 4


def decode_by_seeking(source: Source, packets: Survey, numbers: Collection[int], progress: Progress) -> Decoded | None:
    """Decode each frame in `numbers` (from 0), starting at the keyframe before it.

    Returns:
        The frames; None if any frame is not where it was expected.
    """
    by_time = {packets.times[number]: number for number in numbers}
    kept: dict[int, Shown] = {}
    size = None
    for key, group in groupby(sorted(by_time), lambda time: key_before(packets, time)):
        left = set(group)
        for frame in _decode_from(source, key):
            if frame.pts in left:
                size = _checked(source, frame, by_time[frame.pts], size)
                kept[by_time[frame.pts]] = Shown(frame.pts, upright(frame))
                left.remove(frame.pts)
                progress(len(kept), len(by_time))
            if not left or (frame.pts is not None and frame.pts >= max(left)):
                break
        if left:
            return None
    return Decoded(kept, packets.count, packets.times[-1])


def _decode_from(source: Source, key: int | None) -> Any:
    """Frames from the keyframe shown at `key` on.

    There are no frames where seeking does not arrive exactly at that keyframe.
    """
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
    """The frame's (width, height), which must equal `size` unless `size` is None."""
    if frame.is_corrupt:
        raise damage_error(source.path, f"frame {number}")
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
