"""Conversion of a task's document to a conversation for the chat template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from todre.clips import Clip
from todre.errors import UnsupportedInputError
from todre.inputs import open_medium
from todre.running import Media

MARK = "<image>"
"""The mark of a picture in the texts of lmms-eval's tasks."""

Content = list[dict[str, Any]]


def media_of(visuals: Iterable[Any] | None, frames: int) -> list[Media]:
    """The pictures and clips of a document, in order.

    Args:
        visuals: pictures, and file names of pictures and videos, as the task has them; None if there are none.
        frames: number of frames to take from each video.

    Raises:
        UnsupportedInputError: the document has another medium, such as sound.
        ImageError, ClipError: a file cannot be read.
    """
    return [_opened(visual, frames) for visual in visuals or ()]


def _opened(visual: Any, frames: int) -> Media:
    if isinstance(visual, Image.Image):
        return visual.convert("RGB")
    if isinstance(visual, Clip):
        return visual
    if isinstance(visual, str):
        return open_medium(visual, frames)
    raise UnsupportedInputError(
        f"A document shows a {type(visual).__name__}, and only pictures and video files can be asked about; "
        "leave the task out."
    )


def conversation(text: str, media: Sequence[Media], placeholder: str | None = None) -> list[dict[str, Any]]:
    """One message of the user with text and media.

    The media come before the text, or where the text marks their places.

    Args:
        text: the question.
        media: pictures and clips, in order.
        placeholder: the model's own mark of a picture, which has the meaning of `MARK`.

    Raises:
        UnsupportedInputError: the text marks places for media, but not as many as there are media.
    """
    marks = {MARK} | ({placeholder} if placeholder else set())
    parts = re.split("|".join(map(re.escape, sorted(marks))), text)
    if len(parts) == 1:
        return [{"role": "user", "content": [*map(_item, media), {"type": "text", "text": text}]}]
    if len(parts) - 1 != len(media):
        raise UnsupportedInputError(
            f"A prompt marks {len(parts) - 1} places for pictures, and its document has {len(media)}: {text[:80]!r}; "
            "leave the task out."
        )
    content: Content = []
    for place, part in enumerate(parts):
        content += [_item(media[place - 1])] if place else []
        content += [{"type": "text", "text": part}] if part.strip() else []
    return [{"role": "user", "content": content}]


def _item(medium: Media) -> dict[str, Any]:
    kind = "video" if isinstance(medium, Clip) else "image"
    return {"type": kind, kind: medium}


def kind_of(media: Sequence[Media]) -> tuple[bool, tuple[int, ...]]:
    """The key that prompts must share to be put into one batch.

    The key is whether the prompt has media, and how long its clips are.
    """
    return bool(media), tuple(sorted({len(medium.frames) for medium in media if isinstance(medium, Clip)}))
