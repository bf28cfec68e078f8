"""Draw objects with anti-aliasing, and record which object each pixel belongs to."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from todre.scenes.glyphs import text_bitmap
from todre.scenes.objects import SceneObject
from todre.scenes.vocabulary import COLOURS

_SCALE = 4
_INK = (15, 15, 18)
_PAPER = (246, 244, 238)


def draw_objects(rng: np.random.Generator, image: Image.Image, objects: tuple[SceneObject, ...]) -> NDArray[np.uint8]:
    """Draw objects onto an image in place, and return the owner map.

    Returns:
        (height, width) array: 0 where the background shows, i + 1 where `objects[i]` does.
    """
    owners = np.zeros((image.height, image.width), dtype=np.uint8)
    for index, thing in enumerate(objects):
        sprite, left, top = _sprite(rng, thing)
        image.paste(sprite, (left, top), sprite)
        covered = np.asarray(sprite)[..., 3] > 127
        rows, columns = np.nonzero(covered)
        rows, columns = rows + top, columns + left
        inside = (rows >= 0) & (rows < image.height) & (columns >= 0) & (columns < image.width)
        owners[rows[inside], columns[inside]] = index + 1
    return owners


def _sprite(rng: np.random.Generator, thing: SceneObject) -> tuple[Image.Image, int, int]:
    """The object as an RGBA picture, and the pixel of its top left corner."""
    left, top = math.floor(thing.x - thing.half_width) - 1, math.floor(thing.y - thing.half_height) - 1
    width = math.ceil(thing.x + thing.half_width) + 2 - left
    height = math.ceil(thing.y + thing.half_height) + 2 - top
    canvas = Image.new("RGBA", (width * _SCALE, height * _SCALE), (0, 0, 0, 0))
    centre = ((thing.x - left) * _SCALE, (thing.y - top) * _SCALE)
    half = (thing.half_width * _SCALE, thing.half_height * _SCALE)
    if thing.kind == "shape":
        _draw_shape(canvas, thing, centre, half[0], _jitter(rng, COLOURS[thing.colour]))
    elif thing.kind == "distractor":
        _draw_distractor(canvas, thing.text, centre, half[0])
    else:
        _draw_plate(canvas, thing, centre, half)
    return canvas.resize((width, height), Image.Resampling.BOX), left, top


def _jitter(rng: np.random.Generator, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(value + rng.integers(-12, 13), 0, 255)) for value in colour)
    return red, green, blue


def _draw_shape(
    canvas: Image.Image, thing: SceneObject, centre: tuple[float, float], radius: float, colour: tuple[int, int, int]
) -> None:
    pen = ImageDraw.Draw(canvas)
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    if thing.shape == "circle":
        pen.ellipse(box, fill=colour, outline=_INK, width=_SCALE)
    elif thing.shape == "ring":
        pen.ellipse(box, fill=colour)
        inner = radius * 0.5
        pen.ellipse((x - inner, y - inner, x + inner, y + inner), fill=(0, 0, 0, 0))
    else:
        points = [
            (x + radius * (u * math.cos(thing.angle) - v * math.sin(thing.angle)),
             y + radius * (u * math.sin(thing.angle) + v * math.cos(thing.angle)))
            for u, v in _outline(thing.shape)
        ]  # fmt: skip
        pen.polygon(points, fill=colour, outline=_INK, width=_SCALE // 2)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corner points of a shape in the unit disc, y downwards."""
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    if shape == "triangle":
        return [(0.0, -0.98), (0.9, 0.75), (-0.9, 0.75)]
    if shape == "cross":
        a, b = 0.3, 0.93
        return [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ]
    tips = [(0.4 if k % 2 else 1.0, -math.pi / 2 + k * math.pi / 5) for k in range(10)]
    return [(r * math.cos(t), r * math.sin(t)) for r, t in tips]


def _draw_distractor(canvas: Image.Image, pattern: str, centre: tuple[float, float], radius: float) -> None:
    x = (np.arange(canvas.width, dtype=np.float32) - np.float32(centre[0]))[None, :]
    y = (np.arange(canvas.height, dtype=np.float32) - np.float32(centre[1]))[:, None]
    distance, step = np.sqrt(x * x + y * y), radius / 3.0
    if pattern == "checker":
        dark = (np.floor(x / step) + np.floor(y / step)) % 2 == 0
    elif pattern == "stripes":
        dark = np.floor((x + y) / step) % 2 == 0
    else:
        dark = np.floor(distance / step) % 2 == 0
    light = Image.fromarray(np.where(dark, 0, 255).astype(np.uint8))
    inside = Image.fromarray(np.where(distance <= radius, 255, 0).astype(np.uint8))
    canvas.paste(Image.merge("RGBA", (light, light, light, inside)))


def _draw_plate(
    canvas: Image.Image, thing: SceneObject, centre: tuple[float, float], half: tuple[float, float]
) -> None:
    pen = ImageDraw.Draw(canvas)
    (x, y), (half_width, half_height) = centre, half
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    if thing.kind == "digit":
        pen.ellipse(box, fill=_PAPER, outline=_INK, width=_SCALE)
        text_height = half_height * 1.3
    else:
        pen.rectangle(box, fill=_PAPER, outline=_INK, width=_SCALE)
        text_height = half_height * 1.3
    bitmap = Image.fromarray(text_bitmap(thing.text))
    width, height = round(text_height * bitmap.width / bitmap.height), round(text_height)
    mask = bitmap.resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste((*_INK, 255), (round(x - width / 2), round(y - height / 2)), mask)
