"""Backgrounds of scenes: plain, textured, or a muted crop of a photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from todre.scenes.photographs import PHOTOGRAPHS, photograph

BACKGROUNDS: tuple[str, ...] = ("plain", "textured", "photographic")


def paint_background(rng: np.random.Generator, kind: str, width: int, height: int) -> Image.Image:
    """A fresh RGB background.

    Args:
        rng: decides tone, texture, crop and noise.
        kind: one of `BACKGROUNDS`.
        width, height: size in pixels.
    """
    tone = rng.uniform(60, 190) + rng.uniform(-12, 12, size=3)
    if kind == "plain":
        pixels = np.broadcast_to(tone, (height, width, 3))
    elif kind == "textured":
        pixels = tone + _texture(rng, width, height)[..., None] * rng.uniform(12, 34)
    else:
        pixels = _photographic(rng, width, height)
    noise = rng.standard_normal(size=(height, width, 1), dtype=np.float32) * np.float32(rng.uniform(0.5, 4.0))
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _texture(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """A (height, width) texture of waves or smooth noise, in [−1, 1]."""
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 30)
        y, x = np.mgrid[0:height, 0:width]
        return np.asarray(np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period))
    cells = int(rng.integers(4, 16))
    coarse = Image.fromarray(rng.uniform(-1, 1, size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)


def _photographic(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """(height, width, 3) random crop of a photograph, muted in colour and contrast."""
    source = photograph(PHOTOGRAPHS[int(rng.integers(len(PHOTOGRAPHS)))])
    zoom = rng.uniform(0.6, 1.0) * min(source.width / width, source.height / height)
    crop_width, crop_height = width * zoom, height * zoom
    left = rng.uniform(0, source.width - crop_width)
    top = rng.uniform(0, source.height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    crop = source.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(crop, dtype=np.float64)
    grey = pixels.mean(axis=2, keepdims=True)
    muted = grey + (pixels - grey) * rng.uniform(0.2, 0.5)
    return np.asarray(110 + (muted - muted.mean()) * rng.uniform(0.4, 0.75) + rng.uniform(-30, 40))
