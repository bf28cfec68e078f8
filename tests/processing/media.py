"""Seeded pictures and clips that look a little like real ones: smooth, with edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Frames:
    """A clip, as far as processing reads one."""

    frames: tuple[Image.Image, ...]
    timestamps: tuple[float, ...]
    fps: float
    duration: float


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB picture: coarse noise made smooth, and a rectangle with sharp edges."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).copy()
    top, left = random.integers(0, height // 2 + 1), random.integers(0, width // 2 + 1)
    smooth[top : top + height // 3, left : left + width // 3] = random.integers(0, 256, 3)
    return Image.fromarray(smooth)


def clip(frames: int, width: int, height: int, seed: int = 0, fps: float = 30.0, every: int = 15) -> Frames:
    """Every `every`-th frame of a video that starts at 0."""
    pictures = tuple(picture(width, height, seed * 100 + number) for number in range(frames))
    times = tuple(number * every / fps for number in range(frames))
    return Frames(pictures, times, fps, frames * every / fps)
