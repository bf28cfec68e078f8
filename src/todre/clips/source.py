"""Open a video file through PyAV, with one clear error where that fails."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from todre.clips.signatures import has_signature, missing_bytes
from todre.errors import ClipError, MissingDependencyError
from todre.files import check_input
from todre.images import MAX_ASPECT

FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
"""FFmpeg's demuxers that are tried on a file.

Demuxers for still pictures are left out, and demuxers for playlists, which open other addresses.
"""

MAX_FRAME_PIXELS = 36_000_000
"""Largest frame that is decoded, in pixels (8K; 108 MB as RGB).

The limit is needed because a small file can claim any size.
"""


@dataclass(frozen=True)
class Source:
    """An open video file, and its video stream that is read.

    Attributes:
        container, stream: PyAV's objects; neither may be used after the file is closed.
        codec: FFmpeg's name of the decoder.
        size: (width, height) that the file states, before any turn.
        time_base: seconds in one unit of time.
        rate: frames per second that the file states; None if it states no rate.
        stated: length in seconds that the header states, for Matroska files alone; None for other containers.
    """

    path: Path
    container: Any
    stream: Any
    codec: str
    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction | None
    stated: float | None


def require_av() -> None:
    """Raise unless PyAV is installed; nothing is imported.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingDependencyError(
            "Reading and writing video needs PyAV, which is not installed; run `pip install 'todre[video]'`."
        )


def check_file(path: Path) -> None:
    """Raise unless `path` is a complete file, as far as its outermost boxes tell.

    Raises:
        ClipError: the path is missing or not a file, or the file is empty, unreadable or truncated.
    """
    check_input(path, "clip", ClipError)
    try:
        missing = missing_bytes(path)
    except OSError as error:
        raise ClipError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    if missing is not None:
        raise ClipError(
            f"{path} is truncated (it has {missing[0]:,} of the {missing[1]:,} bytes that it states); "
            "get a complete copy of the file."
        )


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a video file and its video stream, for a `with` block.

    FFmpeg's errors become a `ClipError`, on opening and inside the block.

    Raises:
        ClipError: the file is not a video, has audio alone, an unavailable codec or an absurd size, or damage shows in
            the block.
    """
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", container_options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _cannot_open(path, error) from error
    with container:
        source = _source(container, path)
        try:
            yield source
        except (av.FFmpegError, EOFError) as error:
            raise damage_error(path, str(getattr(error, "strerror", None) or error)) from error


def damage_error(path: Path | str, what: str) -> ClipError:
    """The error for a file that cannot be decoded to its end."""
    return ClipError(f"{path} is damaged and cannot be decoded ({what.rstrip('.')}); get a complete copy of the file.")


def no_frames_error(path: Path | str, what: str) -> ClipError:
    """The error for a file without a single frame."""
    return ClipError(f"{path} has no frames ({what}); get a complete copy, or record it again.")


def check_size(path: Path | str, width: int, height: int) -> None:
    """Raise unless frames of `width` × `height` pixels can be used.

    Raises:
        ClipError: the frames are empty, too large or too thin.
    """
    if width < 1 or height < 1:
        raise damage_error(path, f"its frames have {width} × {height} pixels")
    if width * height > MAX_FRAME_PIXELS:
        raise ClipError(
            f"{path} is too large ({width} × {height} pixels, and the limit is {MAX_FRAME_PIXELS:,}); "
            "scale it down first, no model looks at that many."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ClipError(
            f"{path} is a strip of {width} × {height} pixels, more than {MAX_ASPECT} times as long as wide; "
            "crop it to the part that matters."
        )


def _source(container: Any, path: Path) -> Source:
    """The first video stream that is not a cover picture, ready to decode."""
    import av
    from av.stream import Disposition

    if not container.streams:
        raise no_frames_error(path, "no track can be found in it")
    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        held = "audio only" if container.streams.audio else "no video"
        raise ClipError(f"{path} holds {held}, no picture can be taken from it; give a file with a video track.")
    stream = streams[0]
    if getattr(stream, "codec_context", None) is None:
        raise ClipError(f"{path} is encoded in a way that this PyAV cannot decode; encode it anew as H.264.")
    stream.thread_type = "AUTO"
    context, matroska = stream.codec_context, "matroska" in container.format.name
    return Source(
        path,
        container,
        stream,
        codec=context.name,
        size=(context.width, context.height),
        time_base=stream.time_base,
        rate=stream.average_rate or stream.guessed_rate or None,
        stated=container.duration / av.time_base if matroska and container.duration else None,
    )


def _cannot_open(path: Path, error: Exception) -> ClipError:
    if isinstance(error, PermissionError):
        return ClipError(f"{path} cannot be read ({error.strerror}); check its permissions.")
    with path.open("rb") as file:
        signed = has_signature(file.read(1024))
    if signed:
        return no_frames_error(path, "its tracks cannot be found, or are empty")
    return ClipError(f"{path} is not a video that todre can read; use MP4, MOV, MKV, WebM, AVI or MPEG.")
