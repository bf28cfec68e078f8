"""Pictures of scenes as `data:` URLs, and questions about them."""

from __future__ import annotations

import functools
import io

from PIL import Image

from todre.inputs.data_urls import data_url
from todre.scenes import make_scene


@functools.cache
def scene(seed: int):
    return make_scene(seed, "val")


@functools.cache
def scene_url(seed: int) -> str:
    return data_url(scene(seed).image)


def questions(seed: int) -> list[str]:
    return [question.text for question in scene(seed).questions]


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, format="PNG")
    return stream.getvalue()
