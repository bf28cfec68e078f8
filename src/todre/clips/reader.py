"""Open a video file and sample its frames."""

from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from todre.clips.clip import MAX_PIXELS, Clip, ClipWarning
from todre.clips.frames import Decoded, Progress, decode_by_seeking, decode_whole, seeking_pays
from todre.clips.source import Source, check_file, check_size, damage_error, no_frames_error, open_source, require_av
from todre.clips.survey import Survey, frame_numbers, survey
from todre.errors import ClipError, InvalidValueError


def open_clip(path: str | Path, frames: int = 8, progress: Progress | None = None) -> Clip:
    """Read `frames` frames of a video file, spread evenly over the whole video.

    Of N frames in the order of presentation, the frames numbered ⌊i · N / frames⌋ (from 0) are taken, for i = 0, 1, ….
    A file with fewer frames gives all of them, with a `ClipWarning`. N counts the frames that are really shown,
    whatever the header says, so variable frame rates, B-frames and edit lists change nothing. Frames are turned as the
    file says; sample aspect ratios other than 1 are not applied.

    One pass reads the packets and a second one decodes. A long file is decoded only from the keyframes before the
    chosen frames, where these keyframes can be reached exactly.

    Args:
        path: file name; an address (`https://…`) is not opened.
        frames: number of frames to take, at least 1.
        progress: called after each decoded frame with (frames decoded, frames to decode).

    Raises:
        ClipError: the path is missing, a directory, empty, not a video, truncated, damaged, without a video track or
            without a frame, or its frames are too large.
        InvalidValueError: `frames` is not a whole number of at least 1.
        MissingDependencyError: PyAV is not installed.
    """
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise InvalidValueError(f"frames must be a whole number of at least 1, not {frames!r}.")
    require_av()
    path, report = Path(path), progress or (lambda done, total: None)
    check_file(path)
    with open_source(path) as source:
        packets = survey(source)
        _check_packets(source, packets, frames)
    decoded = _decode(path, packets, frames, report)
    if decoded.total < frames:
        some = f"{decoded.total} frames" if decoded.total > 1 else "1 frame"
        warnings.warn(f"{path} has {some}, and {frames} were asked for; all are used.", ClipWarning, stacklevel=2)
    return _clip(source, packets, decoded)


def _check_packets(source: Source, packets: Survey, frames: int) -> None:
    path, (width, height) = source.path, source.size
    if packets.damaged:
        raise damage_error(path, "a packet of it is incomplete")
    if packets.count == 0:
        raise no_frames_error(path, "its video track is empty")
    if source.stated is not None and packets.reached < 0.95 * source.stated - 0.5:
        raise damage_error(path, f"{packets.reached:.1f} of {source.stated:.1f} seconds can be read")
    check_size(path, width, height)
    together = min(frames, packets.count) * width * height
    if together > MAX_PIXELS:
        raise ClipError(
            f"{path} would give {together:,} pixels in {min(frames, packets.count)} frames, and the limit is "
            f"{MAX_PIXELS:,}; ask for fewer frames, or scale it down."
        )


def _decode(path: Path, packets: Survey, frames: int, progress: Progress) -> Decoded:
    """The chosen frames, by seeking where that is faster, else by decoding all."""
    numbers = frame_numbers(packets.count, frames)
    with open_source(path) as source:
        if seeking_pays(source, packets, numbers):
            reached = decode_by_seeking(source, packets, numbers, progress)
            if reached is not None:
                return reached
    expected = packets.count
    for _ in range(2):
        with open_source(path) as source:
            decoded = decode_whole(source, set(frame_numbers(expected, frames)), expected, progress)
        if decoded.total == 0:
            raise damage_error(path, f"none of its {packets.count} frames can be shown")
        if decoded.total == expected:
            return decoded
        expected = decoded.total  # some packets are not frames: choose anew by the true count
    raise damage_error(path, "it gives another number of frames each time")


def _clip(source: Source, packets: Survey, decoded: Decoded) -> Clip:
    numbers = sorted(decoded.kept)
    shown = [decoded.kept[number] for number in numbers]
    times = [one.time for one in shown if one.time is not None]
    trusted = bool(packets.times) and len(times) == len(shown) and all(here < there for here, there in pairwise(times))
    if trusted and decoded.last is not None:
        duration, fps = _pace(source, packets, decoded, times[0], decoded.last)
        stamps = tuple(float((time - times[0]) * source.time_base) for time in times)
    else:  # packets without times of their own, or joined parts: only the frames' numbers say when
        if source.rate is None:
            raise ClipError(f"{source.path} states neither times nor a frame rate; encode it anew as MP4.")
        duration, fps = float(decoded.total / source.rate), float(source.rate)
        stamps = tuple(number / fps for number in numbers)
    return Clip(tuple(one.picture for one in shown), tuple(numbers), stamps, fps, duration, decoded.total)


def _pace(source: Source, packets: Survey, decoded: Decoded, first: int, last: int) -> tuple[float, float]:
    """(seconds, frames per second) of the whole video.

    The rate is the one that the file states where that agrees with the times to within a frame, else the mean rate.
    """
    rate, total = source.rate, decoded.total
    if packets.count == total and packets.end > last:  # the last frame's own length is stated
        duration = (packets.end - first) * source.time_base
    elif total > 1:
        duration = Fraction(last - first, total - 1) * total * source.time_base
    else:
        duration = 1 / (rate or Fraction(1))
    if rate is not None and abs(rate * duration - total) < 1:
        return float(duration), float(rate)
    return float(duration), float(total / duration)
