"""Scenes of photographic cut-outs on the shipped photographs, with the mask of every object.

The cut-outs are those of Debian's tuxpaint-stamps-default (GPL-2): used where the user has them, never shipped.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_by import hash_of_files
from numpy.typing import NDArray
from PIL import Image, ImageOps

from todre.errors import InvalidValueError
from todre.scenes.photographs import PHOTOGRAPHS, photograph

SIDE, PATCH = 336, 14
"""Pixels of a scene, and of a visual token."""
COVERED = 0.25
"""Share of a token's pixels from which on it shows an object."""
SMALLEST, LARGEST = 40, 140
"""Longer side of an object, in pixels."""
FEWEST, MOST = 2, 5
"""Objects that a scene is given."""
LEAST_OPAQUE, LEAST_COLOURS, MOST_FLAT = 5000, 300, 0.2


@dataclass(frozen=True)
class Stamps:
    """The cut-outs that scenes are made of.

    Attributes:
        paths: of their files, in order.
        digest: hash of their names inside their folder, and of their pictures.
    """

    paths: tuple[Path, ...]
    digest: str


@dataclass(frozen=True)
class CutScene:
    """A picture and the tokens of its objects.

    Attributes:
        pixels: (SIDE, SIDE, 3) uint8.
        objects: for each object, (n,) bool, the tokens that show it.
    """

    pixels: NDArray[np.uint8]
    objects: list[NDArray[np.bool_]]


def stamps_in(folder: Path) -> Stamps:
    """The photographic stamps of a folder.

    Raises:
        InvalidValueError: they are fewer than one scene may take.
    """
    found = photographic(folder)
    if len(found) < MOST:
        raise InvalidValueError(
            f"{folder} holds {len(found)} cut-outs that look like photographs, but a scene takes up to {MOST}; "
            "name the stamps of tuxpaint-stamps-default with --stamps, or leave it out to read formulas alone."
        )
    return Stamps(tuple(found), hash_of_files([(path.relative_to(folder).as_posix(), path) for path in found]))


def photographic(stamps: Path) -> list[Path]:
    """Stamps that look like photographs, in order of their paths.

    They have a transparent ground, at least 5,000 opaque pixels in at least 300 colours (5 bits a channel), and fewer
    than a fifth of neighbours that are equal.
    """
    found = []
    for path in sorted(stamps.rglob("*.png")):
        if "symbols" in path.parts or "cartoon" in path.as_posix():
            continue
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGBA"))
        opaque = image[..., 3] > 200
        if LEAST_OPAQUE <= opaque.sum() <= 0.97 * opaque.size and _looks_real(image[..., :3], opaque):
            found.append(path)
    return found


def _looks_real(colours: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> bool:
    coarse = (colours[opaque] >> 3).astype(np.int64)
    grey = colours.mean(axis=-1)
    steps = np.abs(np.diff(grey, axis=1))[opaque[:, 1:] & opaque[:, :-1]]
    return len(np.unique(coarse @ (1024, 32, 1))) > LEAST_COLOURS and bool((steps < 0.5).mean() < MOST_FLAT)


def scenes(stamps: Sequence[Path], number: int, count: int) -> list[CutScene]:
    """The first `count` scenes of one set, from its number and the stamps alone."""
    rng = random.Random(f"scenes {number}")
    return [_scene(stamps, rng) for _ in range(count)]


def _scene(stamps: Sequence[Path], rng: random.Random) -> CutScene:
    canvas = _ground(rng)
    masks: list[NDArray[np.bool_]] = []
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    for path in rng.sample(stamps, rng.randint(FEWEST, MOST)):
        with Image.open(path) as opened:
            image = opened.convert("RGBA")
        scale = rng.randint(SMALLEST, LARGEST) / max(image.size)
        image = image.resize((max(8, round(image.width * scale)), max(8, round(image.height * scale))))
        for _ in range(20):
            left, top = rng.randint(0, SIDE - image.width), rng.randint(0, SIDE - image.height)
            mask = np.zeros((SIDE, SIDE), dtype=bool)
            mask[top : top + image.height, left : left + image.width] = np.asarray(image)[..., 3] > 127
            tokens = _tokens(mask)
            if tokens.any() and not (mask & taken).any():
                canvas.paste(image, (left, top), image)
                taken |= mask
                masks.append(tokens)
                break
    return CutScene(np.asarray(canvas), masks)


def _ground(rng: random.Random) -> Image.Image:
    image = photograph(rng.choice(PHOTOGRAPHS))
    side = rng.randint(min(image.size) // 2, min(image.size))
    left, top = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
    image = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    return ImageOps.mirror(image) if rng.random() < 0.5 else image


def _tokens(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    side = SIDE // PATCH
    return (mask.reshape(side, PATCH, side, PATCH).mean(axis=(1, 3)) >= COVERED).reshape(-1)
