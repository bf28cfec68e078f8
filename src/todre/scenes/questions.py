"""Ask about a scene: every task's questions with answers that follow from the object list alone."""

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
"""Objects are compared along an axis only when their centres lie at least this many pixels apart on it."""
QUADRANT_MARGIN = 8.0
"""Objects nearer than this many pixels to a middle line are not asked about."""


def shapes_of(objects: Objects) -> list[SceneObject]:
    """The objects that questions can name by colour and shape."""
    return [thing for thing in objects if thing.kind == "shape"]


def unique_pairs(objects: Objects) -> list[SceneObject]:
    """Shapes whose colour and shape together occur once in the scene."""
    seen = Counter(thing.name for thing in shapes_of(objects))
    return [thing for thing in shapes_of(objects) if seen[thing.name] == 1]


def ask_presence(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """POPE-like: yes and no equally often; the absent pair is random, popular or adversarial."""
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
    """VQA-like: the colour of the only object of a shape, or of a shape and size."""
    named = _named_once(objects, "shape")
    if not named:
        return None
    name, thing = named[int(rng.integers(len(named)))]
    return Question("colour", f"What color is the {name}?", thing.colour, tuple(COLOURS), thing.size)


def ask_shape(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """VQA-like: the shape of the only object of a colour, or of a colour and size."""
    named = _named_once(objects, "colour")
    if not named:
        return None
    name, thing = named[int(rng.integers(len(named)))]
    return Question("shape", f"What shape is the {name} object?", thing.shape, SHAPES, thing.size)


def _named_once(objects: Objects, field: str) -> list[tuple[str, SceneObject]]:
    """(reference, object) pairs where the attribute alone, or with the size before it, fits one object only."""
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
    """VQA-like: small or large, equally often where the scene has both."""
    wanted = tuple(SIZES)[int(rng.integers(2))]
    unique = unique_pairs(objects)
    fitting = [thing for thing in unique if thing.size == wanted] or unique
    if not fitting:
        return None
    thing = fitting[int(rng.integers(len(fitting)))]
    return Question("size", f"Is the {thing.name} small or large?", thing.size, tuple(SIZES))


def ask_count(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """VQA-like: how many of a colour or of a shape; the answer is drawn first, so that 0–4 are near balance."""
    field = ("colour", "shape")[int(rng.integers(2))]
    values = tuple(COLOURS) if field == "colour" else SHAPES
    seen = Counter(str(getattr(thing, field)) for thing in shapes_of(objects))
    by_count: dict[int, list[str]] = {}
    for value in values:
        by_count.setdefault(seen[value], []).append(value)
    possible = [count for count in by_count if count < len(COUNTS)]
    weights = np.array([(1.0, 1.0, 1.2, 1.9, 3.0)[count] for count in possible])
    count = possible[int(rng.choice(len(possible), p=weights / weights.sum()))]
    value = by_count[count][int(rng.integers(len(by_count[count])))]
    noun = f"{value} shapes" if field == "colour" else plural(value)
    return Question("count", f"How many {noun} are there?", str(count), COUNTS, field)


def ask_relation(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """GQA-like: is one object left of, right of, above or below another; yes and no equally often."""
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
    """Whether `a` lies in `direction` ("left of", "right of", "above", "below") from `b`, by centres."""
    if direction in ("left of", "right of"):
        return (a.x < b.x) == (direction == "left of")
    return (a.y < b.y) == (direction == "above")


def ask_quadrant(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """GQA-like: the quarter of the picture in which the only object of its colour and shape lies."""
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
    """OCR-like: the one digit of the scene."""
    plates = [thing for thing in objects if thing.kind == "digit"]
    return Question("digit", "What digit is shown?", plates[0].text, DIGITS) if plates else None


def ask_word(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """OCR-like: the one word of the scene."""
    plates = [thing for thing in objects if thing.kind == "word"]
    return Question("word", "What word is written?", plates[0].text, WORDS) if plates else None


def ask_caption(rng: np.random.Generator, objects: Objects, width: int, height: int) -> Question | None:
    """Caption-like: name every colour-shape pair once, by colour and then by shape, in the vocabulary's order."""
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
