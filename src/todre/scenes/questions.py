"""Questions of each task about a scene.

The answers follow from the scene's list of objects alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from todre.scenes.objects import Question, SceneObject
from todre.scenes.vocabulary import (
    COLOURS,
    COUNTS,
    DIGITS,
    DIRECTIONS,
    POPULAR_PAIRS,
    QUADRANTS,
    SHAPES,
    SIZES,
    WORDS,
    YES_NO,
    article,
    plural,
)

Objects = Sequence[SceneObject]
Asker = Callable[[np.random.Generator, Objects, int, int], Question | None]

RELATION_MARGIN = 24.0
"""Least distance in pixels at which two objects are compared along an axis.

The distance is between their centres, along that axis.
"""
QUADRANT_MARGIN = 8.0
"""Objects nearer than this many pixels to a middle line are not asked about."""


def shapes_of(objects: Objects) -> list[SceneObject]:
    """The objects that questions can name by colour and shape."""
    return [thing for thing in objects if thing.kind == "shape"]


def unique_pairs(objects: Objects) -> list[SceneObject]:
    """Shapes whose colour and shape together occur once in the scene."""
    counts = Counter(thing.name for thing in shapes_of(objects))
    return [thing for thing in shapes_of(objects) if counts[thing.name] == 1]


def ask_presence(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Presence, as in POPE: whether a shape of some colour is in the picture.

    Yes and no come equally often. If the answer is no, the pair of colour and shape is random, popular or adversarial.
    """
    present = sorted({(thing.colour, thing.shape) for thing in shapes_of(objects)})
    if not present:
        return None
    detail = "present"
    colour, shape = present[int(rng.integers(len(present)))]
    if rng.random() < 0.5:
        detail = ("random", "popular", "adversarial")[int(rng.integers(3))]
        absent = _absent_pairs(present, detail)
        colour, shape = absent[int(rng.integers(len(absent)))]
    text = f"Is there {article(colour)} {colour} {shape} in the picture?"
    return Question("presence", text, "yes" if detail == "present" else "no", YES_NO, detail)


def _absent_pairs(present: list[tuple[str, str]], detail: str) -> list[tuple[str, str]]:
    colours, shapes = {colour for colour, _ in present}, {shape for _, shape in present}
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in present]
    if detail == "popular":
        chosen = [pair for pair in absent if pair in POPULAR_PAIRS]
    elif detail == "adversarial":
        chosen = [(c, s) for c, s in absent if c in colours and s in shapes]
    else:
        chosen = absent
    return chosen or absent


def ask_colour(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Colour, as in VQA, of an object named by shape, or by size and shape."""
    named = _named_once(objects, "shape")
    if not named:
        return None
    name, thing = named[int(rng.integers(len(named)))]
    return Question("colour", f"What color is the {name}?", thing.colour, tuple(COLOURS), thing.size)


def ask_shape(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Shape, as in VQA, of an object named by colour, or by size and colour."""
    named = _named_once(objects, "colour")
    if not named:
        return None
    name, thing = named[int(rng.integers(len(named)))]
    return Question("shape", f"What shape is the {name} object?", thing.shape, SHAPES, thing.size)


def _named_once(objects: Objects, field: str) -> list[tuple[str, SceneObject]]:
    """(name, object) pairs in which the name fits no other object.

    The name is the value of the attribute `field`, or size and value where the value alone fits several objects.
    """
    shapes = shapes_of(objects)
    alone = Counter(str(getattr(thing, field)) for thing in shapes)
    sized = Counter((thing.size, str(getattr(thing, field))) for thing in shapes)
    named = []
    for thing in shapes:
        value = str(getattr(thing, field))
        if alone[value] == 1:
            named.append((value, thing))
        elif sized[thing.size, value] == 1:
            named.append((f"{thing.size} {value}", thing))
    return named


def ask_size(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Size, as in VQA: small or large, equally often where the scene has both."""
    size = tuple(SIZES)[int(rng.integers(2))]
    unique = unique_pairs(objects)
    fitting = [thing for thing in unique if thing.size == size] or unique
    if not fitting:
        return None
    thing = fitting[int(rng.integers(len(fitting)))]
    return Question("size", f"Is the {thing.name} small or large?", thing.size, tuple(SIZES))


def ask_count(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Count, as in VQA: how many shapes have a colour, or how many have a form.

    The answer is drawn first, so that the counts 0 to 4 come nearly equally often.
    """
    field = ("colour", "shape")[int(rng.integers(2))]
    values = tuple(COLOURS) if field == "colour" else SHAPES
    counts = Counter(str(getattr(thing, field)) for thing in shapes_of(objects))
    by_count: dict[int, list[str]] = {}
    for value in values:
        by_count.setdefault(counts[value], []).append(value)
    possible = [count for count in by_count if count < len(COUNTS)]
    weights = np.array([(1.0, 1.0, 1.2, 1.9, 3.0)[count] for count in possible])
    count = possible[int(rng.choice(len(possible), p=weights / weights.sum()))]
    value = by_count[count][int(rng.integers(len(by_count[count])))]
    return _count(field, value, count)


def every_count(objects: Objects) -> list[Question]:
    """All questions of the task "count" that have an answer, in a fixed order."""
    asked = []
    for field, values in (("colour", tuple(COLOURS)), ("shape", SHAPES)):
        counts = Counter(str(getattr(thing, field)) for thing in shapes_of(objects))
        asked += [_count(field, value, counts[value]) for value in values if counts[value] < len(COUNTS)]
    return asked


def _count(field: str, value: str, count: int) -> Question:
    noun = f"{value} shapes" if field == "colour" else plural(value)
    return Question("count", f"How many {noun} are there?", str(count), COUNTS, field)


def ask_relation(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Relation, as in GQA: whether one object is left of, above, … another.

    Yes and no come equally often.
    """
    unique = unique_pairs(objects)
    direction = DIRECTIONS[int(rng.integers(4))]
    axis = "x" if direction in ("left of", "right of") else "y"
    pairs = [
        (a, b)
        for a in unique
        for b in unique
        if a is not b and abs(getattr(a, axis) - getattr(b, axis)) >= RELATION_MARGIN
    ]
    truthful = rng.random() < 0.5
    fitting = [(a, b) for a, b in pairs if holds(direction, a, b) == truthful]
    if not fitting:
        return None
    a, b = fitting[int(rng.integers(len(fitting)))]
    text = f"Is the {a.name} {direction} the {b.name}?"
    return Question("relation", text, "yes" if truthful else "no", YES_NO, direction)


def holds(direction: str, a: SceneObject, b: SceneObject) -> bool:
    """True if the centre of `a` lies in a direction from the centre of `b`.

    Args:
        direction: "left of", "right of", "above" or "below".
        a, b: the objects.
    """
    if direction in ("left of", "right of"):
        return (a.x < b.x) == (direction == "left of")
    return (a.y < b.y) == (direction == "above")


def ask_quadrant(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Quadrant, as in GQA: the quarter of the picture that an object lies in.

    The object is the only one of its colour and shape.
    """
    clear = [
        thing
        for thing in unique_pairs(objects)
        if min(abs(thing.x - width / 2), abs(thing.y - height / 2)) >= QUADRANT_MARGIN
    ]
    if not clear:
        return None
    thing = clear[int(rng.integers(len(clear)))]
    answer = f"{'top' if thing.y < height / 2 else 'bottom'} {'left' if thing.x < width / 2 else 'right'}"
    return Question("quadrant", f"Where is the {thing.name}?", answer, QUADRANTS)


def ask_digit(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Digit, as in OCR benchmarks: the one digit of the scene."""
    plates = [thing for thing in objects if thing.kind == "digit"]
    return Question("digit", "What digit is shown?", plates[0].text, DIGITS) if plates else None


def ask_word(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Word, as in OCR benchmarks: the one word of the scene."""
    plates = [thing for thing in objects if thing.kind == "word"]
    return Question("word", "What word is written?", plates[0].text, WORDS) if plates else None


def ask_caption(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Caption: name every pair of colour and shape in the picture once.

    Pairs are in the vocabulary's order, by colour and then by shape.
    """
    order = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    present = {(thing.colour, thing.shape) for thing in shapes_of(objects)}
    names = [f"{colour} {shape}" for colour, shape in order if (colour, shape) in present]
    return Question("caption", "Describe the picture.", ", ".join(names)) if names else None


ASKERS: dict[str, Asker] = {
    "presence": ask_presence,
    "colour": ask_colour,
    "shape": ask_shape,
    "size": ask_size,
    "count": ask_count,
    "relation": ask_relation,
    "quadrant": ask_quadrant,
    "digit": ask_digit,
    "word": ask_word,
    "caption": ask_caption,
}
TASKS: tuple[str, ...] = tuple(ASKERS)
