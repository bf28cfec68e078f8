"""Clips: the frames that a model sees, and their places in the whole video."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from todre.errors import InvalidValueError
from todre.images import as_rgb

MAX_PIXELS = 500_000_000
"""Most pixels that all frames of a clip may have together (1.5 GB as RGB)."""


class ClipWarning(UserWarning):
    """Warns that a clip was read, but not quite as requested.

    The clip has fewer frames than requested, or its frames are turned by an odd angle.
    """


@dataclass(frozen=True)
class Clip:
    """Frames sampled from a video, in the order in which they are shown.

    Attributes:
        frames: upright RGB pictures, at least one, all of one size.
        indices: number of each frame in the video, counted from 0 in the order of presentation; increasing.
        timestamps: for each frame, seconds from the video's first frame until this frame is shown.
        fps: frames per second of the whole video (the mean, where the rate varies).
        duration: seconds from the beginning of the video's first frame to the end of its last.
        total_frames: number of frames in the whole video.
    """

    frames: tuple[Image.Image, ...] = field(repr=False)
    indices: tuple[int, ...]
    timestamps: tuple[float, ...]
    fps: float
    duration: float
    total_frames: int

    def __post_init__(self) -> None:
        if not self.frames:
            raise InvalidValueError("A clip of 0 frames was given; give at least one frame.")
        if not len(self.frames) == len(self.indices) == len(self.timestamps):
            raise InvalidValueError(
                f"A clip has {len(self.frames)} frames, {len(self.indices)} indices and {len(self.timestamps)} "
                "timestamps; give one index and one timestamp for each frame."
            )
        sizes = sorted({frame.size for frame in self.frames})
        if len(sizes) > 1:
            raise InvalidValueError(f"The frames of a clip measure {sizes[0]} and {sizes[1]} pixels; give one size.")
        steps = zip((-1, *self.indices), (*self.indices, self.total_frames), strict=True)
        if any(here >= there for here, there in steps):
            raise InvalidValueError(
                f"The frame indices {list(self.indices)} do not increase from 0 to below {self.total_frames}; "
                "give the frames in the order of presentation."
            )
        if not (self.fps > 0 and self.duration >= 0):
            raise InvalidValueError(
                f"A clip has {self.fps} frames per second and {self.duration} seconds; give positive numbers."
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of every frame in pixels."""
        return self.frames[0].size

    def facts(self) -> dict[str, Any]:
        """Facts about the clip that a result records, ready for JSON."""
        return {
            "sha256": clip_sha256(self),
            "size": list(self.size),
            "frames": len(self.frames),
            "indices": list(self.indices),
            "timestamps": [round(seconds, 6) for seconds in self.timestamps],
            "fps": round(self.fps, 6),
            "duration": round(self.duration, 6),
            "total_frames": self.total_frames,
        }


def clip_of_frames(frames: Sequence[Image.Image], fps: float = 8.0) -> Clip:
    """A clip made of pictures, shown at `fps` frames per second.

    Raises:
        InvalidValueError: no frames, frames of several sizes, or a frame rate that is not positive.
    """
    if not 0 < fps < float("inf"):
        raise InvalidValueError(f"fps must be a positive number, not {fps!r}.")
    pictures = tuple(as_rgb(frame) for frame in frames)
    count = len(pictures)
    times = tuple(number / fps for number in range(count))
    return Clip(pictures, tuple(range(count)), times, float(fps), count / fps, count)


def clip_sha256(clip: Clip) -> str:
    """SHA-256 of the frames' number, size and RGB bytes, in hexadecimal digits.

    Frames of equal pixels give equal digests, whatever file they came from.
    """
    width, height = clip.size
    digest = hashlib.sha256(f"{len(clip)}x{width}x{height}:".encode())
    for frame in clip.frames:
        digest.update(frame.convert("RGB").tobytes())
    return digest.hexdigest()
