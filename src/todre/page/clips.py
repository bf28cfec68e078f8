"""Short clips on the page: what a dropped file is, and its frames side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from todre.clips import Clip, is_clip
from todre.errors import TodreError, UnsupportedInputError
from todre.files import printable
from todre.geometry import TokenBox
from todre.inputs import open_medium, open_picture
from todre.loading.model import Loaded
from todre.page.notices import Note, Notices
from todre.plots.contact_sheet import frames_of
from todre.running import Media
from todre.tiny import SHIPPED_VIDEO

_CELL = 320
"""Most pixels of the longer side of a frame on a sheet."""
_GAP = 6
"""Pixels between frames."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The frames of a clip in rows, and where its tokens look.

    Attributes:
        picture: all frames, made smaller where they are large.
        boxes: in pixels of `picture`, one for each token and each frame that it was made from.
        tokens: the token of each box.
    """

    picture: Image.Image
    boxes: tuple[TokenBox, ...]
    tokens: tuple[int, ...]


def takes_clips(loaded: Loaded) -> bool:
    """Whether the model can be asked about clips."""
    return getattr(loaded.processor, "video_processor", None) is not None


def open_dropped(loaded: Loaded, file: str, frames: int) -> Media:
    """The picture or clip in a file.

    An animation is a clip to a model that takes clips, and to others its first frame.

    Args:
        loaded: the model that will be asked.
        file: path of the file.
        frames: number of frames to take of a clip.

    Raises:
        UnsupportedInputError: a video, and the model takes none.
        ImageError, ClipError: it cannot be read.
        MissingDependencyError: an optional package is needed for it.
    """
    if takes_clips(loaded):
        return open_medium(file, frames, animated=True)
    if is_clip(file):
        raise UnsupportedInputError(
            f"{printable(Path(file))} is a video, and {loaded.name} takes pictures and no clips; drop a picture, or "
            f"start the page with a model that takes clips, such as -m {SHIPPED_VIDEO}."
        )
    return open_picture(file)


def open_own(loaded: Loaded, notices: Notices, file: str, frames: int) -> tuple[Media, list[str]]:
    """(the picture or clip in a visitor's file, what is to be said of it).

    Errors and notes call the file by the name that the visitor knows.

    Args:
        loaded, file, frames: as `open_dropped` has them.
        notices: hears the warnings.

    Raises:
        TodreError: as by `open_dropped`.
    """
    said: list[Note] = []
    try:
        with notices.to(said.append):
            medium = open_dropped(loaded, file, frames)
    except TodreError as error:
        raise type(error)(_with_name(str(error), file)) from error
    return medium, [_with_name(note.text, file) for note in said]


def _with_name(text: str, file: str) -> str:
    """A sentence with a file's name in place of its path."""
    path = Path(file)
    for written in (printable(path), str(path)):
        text = text.replace(written, printable(path.name))
    return text


def still(medium: Media) -> Image.Image:
    """One picture of it: itself, or all frames of a clip."""
    return sheet(medium).picture if isinstance(medium, Clip) else medium


def sheet(clip: Clip, boxes: Sequence[TokenBox] = ()) -> Sheet:
    """The frames of a clip in rows, from left to right.

    Args:
        clip: the clip.
        boxes: places of its visual tokens.
    """
    count, (width, height) = len(clip), clip.size
    columns = math.ceil(math.sqrt(count))
    scale = min(1.0, _CELL / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    steps = size[0] + _GAP, size[1] + _GAP
    rows = math.ceil(count / columns)
    paper = Image.new("RGB", (columns * steps[0] - _GAP, rows * steps[1] - _GAP), "white")
    for number, frame in enumerate(clip.frames):
        paper.paste(frame.resize(size), (number % columns * steps[0], number // columns * steps[1]))
    across, down = size[0] / width, size[1] / height
    placed: list[TokenBox] = []
    tokens: list[int] = []
    for token, box in enumerate(boxes):
        for number in frames_of(box, count):
            x, y = number % columns * steps[0], number // columns * steps[1]
            placed.append(
                replace(
                    box,
                    left=x + box.left * across,
                    right=x + box.right * across,
                    top=y + box.top * down,
                    bottom=y + box.bottom * down,
                )
            )
            tokens.append(token)
    return Sheet(picture=paper, boxes=tuple(placed), tokens=tuple(tokens))
