"""Sample the objects of a scene, and places where they hardly overlap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from todre.scenes.objects import SceneObject
from todre.scenes.vocabulary import COLOURS, DIGITS, PATTERNS, POPULAR_PAIRS, SHAPES, SIZES, WORDS

_FULL_AREA = 192 * 192
_TRIES = 80


def sample_objects(rng: np.random.Generator, width: int, height: int) -> tuple[SceneObject, ...]:
    """Objects for a picture of `width` × `height` pixels.

    A picture of 192 × 192 gets 8 to 14 objects to ask about, a smaller one fewer.
    """
    share = min(1.0, width * height / _FULL_AREA)
    placed: list[SceneObject] = []
    for _ in range(_count(rng, 1, 2, share)):
        _place(rng, placed, width, height, _distractor(rng))
    if rng.random() < 0.9 or share == 1.0:
        _place(rng, placed, width, height, _digit(rng))
    if rng.random() < 0.9 or share == 1.0:
        _place(rng, placed, width, height, _word(rng))
    crowd = _favourite(rng)
    for _ in range(_count(rng, 6, 12, share)):
        _place(rng, placed, width, height, _shape(rng, crowd))
    return tuple(placed)


def sample_few(rng: np.random.Generator, width: int, height: int) -> tuple[SceneObject, ...]:
    """A digit and three to five shapes, for small pictures that come in sets.

    There are fewer objects where the picture has no room for more.
    """
    placed: list[SceneObject] = []
    _place(rng, placed, width, height, _digit(rng))
    crowd = _favourite(rng)
    for _ in range(int(rng.integers(3, 6))):
        _place(rng, placed, width, height, _shape(rng, crowd))
    return tuple(placed)


def _count(rng: np.random.Generator, low: int, high: int, share: float) -> int:
    return max(int(low > 1), round(share * int(rng.integers(low, high + 1))))


def _favourite(rng: np.random.Generator) -> tuple[str, str]:
    """A colour and a shape that recur in a scene, to make counts above two common."""
    return str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))


def _thing(kind: str, half_width: float, half_height: float, **looks: Any) -> SceneObject:
    """A thing at the origin, which `_place` moves to its spot."""
    return SceneObject(kind=kind, x=0, y=0, half_width=half_width, half_height=half_height, **looks)


def _shape(rng: np.random.Generator, crowd: tuple[str, str]) -> SceneObject:
    if rng.random() < 0.25:
        colour, shape = POPULAR_PAIRS[int(rng.integers(len(POPULAR_PAIRS)))]
    else:
        colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
    draw = rng.random()
    if draw < 0.18:
        colour = crowd[0]
    elif draw < 0.36:
        shape = crowd[1]
    size = "small" if rng.random() < 0.55 else "large"
    radius = float(rng.uniform(*SIZES[size]))
    angle = float(rng.uniform(-0.25, 0.25))
    return _thing("shape", radius, radius, colour=colour, shape=shape, size=size, angle=angle)


def _digit(rng: np.random.Generator) -> SceneObject:
    radius = float(rng.uniform(15.0, 17.0))
    return _thing("digit", radius, radius, text=str(rng.choice(DIGITS)))


def _word(rng: np.random.Generator) -> SceneObject:
    scale = float(rng.uniform(1.9, 2.2))
    return _thing("word", 10.5 * scale, 5.5 * scale, text=str(rng.choice(WORDS)))


def _distractor(rng: np.random.Generator) -> SceneObject:
    radius = float(rng.uniform(17.0, 23.0))
    return _thing("distractor", radius, radius, text=str(rng.choice(PATTERNS)))


def _place(rng: np.random.Generator, placed: list[SceneObject], width: int, height: int, thing: SceneObject) -> None:
    """Append `thing` at a free spot; leave it out where the scene is full."""
    for _ in range(_TRIES):
        x = float(rng.uniform(thing.half_width + 2, width - thing.half_width - 2))
        y = float(rng.uniform(thing.half_height + 2, height - thing.half_height - 2))
        if all(_apart(thing, x, y, other) for other in placed):
            placed.append(replace(thing, x=x, y=y))
            return


def _apart(thing: SceneObject, x: float, y: float, other: SceneObject) -> bool:
    gap_x = abs(x - other.x) - thing.half_width - other.half_width
    gap_y = abs(y - other.y) - thing.half_height - other.half_height
    return max(gap_x, gap_y) >= 2.0
