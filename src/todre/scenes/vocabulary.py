"""The names that scenes are made of: colours, shapes, sizes, digits and words."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "green": (30, 165, 50),
    "blue": (35, 65, 225),
    "yellow": (245, 225, 30),
    "purple": (150, 45, 185),
    "orange": (250, 135, 15),
    "cyan": (40, 205, 220),
}
"""Colour name → sRGB value, before each object's small jitter."""

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES: dict[str, tuple[float, float]] = {"small": (6.0, 8.0), "large": (11.0, 14.0)}
"""Size name → range of radii in pixels."""

DIGITS: tuple[str, ...] = tuple("0123456789")
WORDS: tuple[str, ...] = ("cat", "dog", "sun", "cup", "key", "box", "hat", "bus", "map", "tea")
PATTERNS: tuple[str, ...] = ("checker", "stripes", "target")
"""Patterns of the large black and white distractors, which no question asks about."""

COUNTS: tuple[str, ...] = ("0", "1", "2", "3", "4")
DIRECTIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
QUADRANTS: tuple[str, ...] = ("top left", "top right", "bottom left", "bottom right")
YES_NO: tuple[str, ...] = ("yes", "no")

POPULAR_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (list(COLOURS)[i % len(COLOURS)], SHAPES[i % len(SHAPES)]) for i in range(0, 42, 5)
)
"""Pairs of colour and shape that are drawn three times as often as others.

The pairs that a scene lacks are its "popular" negatives, as POPE calls them.
"""


def plural(shape: str) -> str:
    """The plural of a shape as questions use it: "crosses", "stars"."""
    return shape + ("es" if shape.endswith("s") else "s")


def article(word: str) -> str:
    """The article before a word: "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"
