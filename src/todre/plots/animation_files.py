"""Animations in files: GIF and WebP by Pillow, MP4 by PyAV (extra `video`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from todre.clips.source import require_av
from todre.errors import InvalidValueError
from todre.files import atomic_path, printable
from todre.plots.animation_limits import LEAST_DURATION, MOST_DURATION, STEP, SUFFIXES
from todre.scenes import write_mp4

HOLD = 2_000
"""Least milliseconds of the last frame, before a GIF or a WebP begins again."""
_COLOURS = 253
"""Colours of a GIF beside white, black, and one that stands for no change."""
_NEAR = 248
"""Level of all three colours from which a colour is shown as white."""
_SAMPLED = 8
"""Frames that a GIF's colours are taken from."""
_WEBP = {"quality": 75, "method": 4, "allow_mixed": True, "loop": 0}


def require_writer(path: Path) -> None:
    """Raise unless an animation of this suffix can be written here.

    Raises:
        MissingDependencyError: the file is an MP4, and PyAV is not installed.
    """
    if path.suffix.lower() == ".mp4":
        require_av()


def write_animation(frames: Sequence[Image.Image], path: Path, duration: int) -> None:
    """Write frames as an animation, whole or not at all; the suffix names the kind.

    GIF and WebP begin again for ever, after the last frame has stood for at least two seconds; an MP4 ends with it.

    Args:
        frames: RGB pictures of one size.
        path: the file: .gif, .webp or .mp4.
        duration: milliseconds that a frame is shown, a multiple of 10.

    Raises:
        InvalidValueError: there are no frames, or the suffix or the duration cannot be used.
        MissingDependencyError: the file is an MP4, and PyAV is not installed.
    """
    suffix = path.suffix.lower()
    if not frames:
        raise InvalidValueError("An animation of 0 frames was to be written; give at least one.")
    if suffix not in SUFFIXES:
        raise InvalidValueError(f"{printable(path)} has no suffix of an animation; use {', '.join(SUFFIXES)}.")
    if duration % STEP or not LEAST_DURATION <= duration <= MOST_DURATION:
        raise InvalidValueError(
            f"A frame cannot be shown for {duration} ms; give a multiple of {STEP} from {LEAST_DURATION} to "
            f"{MOST_DURATION:,}."
        )
    if suffix == ".mp4":
        write_mp4(frames, path, 1000 / duration)
        return
    durations = [duration] * (len(frames) - 1) + [max(duration, HOLD)]
    with atomic_path(path) as temporary:
        if suffix == ".gif":
            first, *rest = _with_few_colours(frames)
            first.save(temporary, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
        else:
            first, *rest = frames
            first.save(temporary, "WEBP", save_all=True, append_images=rest, duration=durations, **_WEBP)


def _with_few_colours(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The frames in colours that all share, so that what stays the same takes no room."""
    step = max(1, len(frames) // _SAMPLED)
    some = [*frames[::step], frames[-1]]
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(some)))
    for place, frame in enumerate(some):
        sheet.paste(frame, (0, place * height))
    found = sheet.quantize(_COLOURS, dither=Image.Dither.NONE).getpalette() or []
    triples = [found[at : at + 3] for at in range(0, len(found), 3)][:_COLOURS]
    others = [colour for colour in triples if min(colour) < _NEAR]
    colours = Image.new("P", (1, 1))
    colours.putpalette([255, 255, 255, 0, 0, 0, *(level for colour in others for level in colour)])
    return [frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]
