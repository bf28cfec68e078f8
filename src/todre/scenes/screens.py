"""Histories of screens: one scene in states that differ a little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from todre.errors import InvalidValueError
from todre.scenes.background import BACKGROUNDS, paint_background
from todre.scenes.draw import draw_objects
from todre.scenes.layout import sample_few
from todre.scenes.objects import Question, SceneObject
from todre.scenes.questions import shapes_of
from todre.scenes.scene import absolute_seed, scene_size
from todre.scenes.vocabulary import COLOURS, DIGITS, YES_NO, article

SCREENS = 10
"""Number of screens of a history."""
Screens = Sequence[Sequence[SceneObject]]
Asker = Callable[[np.random.Generator, Screens], Question | None]

_TAG = 0x5C4
"""Extra seed, so that a history differs from other worlds of equal seed."""
_DIGIT_CHANGES = 0.25


@dataclass(frozen=True)
class SceneHistory:
    """Screens of one scene in order, and their true content.

    Args:
        seed, split: what `make_history` was called with.
        images: the screens, oldest first, of one size, RGB.
        objects: for each screen, everything drawn in it; the same things in the same order and places, in other states.
        questions: at most one question of each kind, in the order of `SCREEN_TASKS`.
    """

    seed: int
    split: str
    images: tuple[Image.Image, ...]
    objects: tuple[tuple[SceneObject, ...], ...]
    questions: list[Question]


def make_history(
    seed: int, split: str = "train", size: int | tuple[int, int] = 96, screens: int = SCREENS
) -> SceneHistory:
    """Render the history that belongs to a seed.

    Equal arguments give equal pixels and questions. A scene has a digit and three to five shapes. From each screen to
    the next, one thing changes its state: a shape its colour, or the plate its digit. Everything else stays as it is,
    pixel by pixel.

    Args:
        seed: 0 ≤ seed < 2**40, as for `make_scene`.
        split: "train", "val" or "test".
        size: side of square screens, or (width, height), in pixels.
        screens: at least 2.

    Raises:
        InvalidValueError: a seed, split, size or number of screens is not valid.
    """
    width, height = scene_size(size)
    if isinstance(screens, bool) or not isinstance(screens, int) or screens < 2:
        raise InvalidValueError(f"a history has at least 2 screens, not {screens!r}")
    rng = np.random.default_rng([absolute_seed(seed, split), width, height, screens, _TAG])
    objects = _states(rng, sample_few(rng, width, height), screens)
    background = paint_background(rng, BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], width, height)
    shades = int(rng.integers(2**32))
    images = []
    for things in objects:
        image = background.copy()
        draw_objects(np.random.default_rng(shades), image, things)
        images.append(image)
    return SceneHistory(seed, split, tuple(images), objects, ask_screens(rng, objects, SCREEN_TASKS))


def _states(
    rng: np.random.Generator, things: tuple[SceneObject, ...], screens: int
) -> tuple[tuple[SceneObject, ...], ...]:
    """The things of each screen; one differs from the screen before."""
    states = [things]
    while len(states) < screens:
        places = [place for place, thing in enumerate(things) if thing.kind == "shape"]
        plates = [place for place, thing in enumerate(things) if thing.kind == "digit"]
        group = plates if plates and (not places or rng.random() < _DIGIT_CHANGES) else places
        place = group[int(rng.integers(len(group)))]
        things = (*things[:place], _changed(rng, things[place]), *things[place + 1 :])
        states.append(things)
    return tuple(states)


def _changed(rng: np.random.Generator, thing: SceneObject) -> SceneObject:
    """A shape in another colour, or a plate with another digit."""
    now, known = (thing.colour, tuple(COLOURS)) if thing.kind == "shape" else (thing.text, DIGITS)
    others = [value for value in known if value != now]
    value = others[int(rng.integers(len(others)))]
    return replace(thing, colour=value) if thing.kind == "shape" else replace(thing, text=value)


def ask_screens(rng: np.random.Generator, screens: Screens, tasks: Sequence[str]) -> list[Question]:
    """One question for each entry of `tasks`, which may repeat.

    Tasks that the screens have no answer for are left out.

    Args:
        rng: chooses what a question asks about.
        screens: for each screen, everything drawn in it; the same things in the same order.
        tasks: names from `SCREEN_TASKS`.
    """
    questions = (_ASKERS[task](rng, screens) for task in tasks)
    return [question for question in questions if question is not None]


def ask_recoloured(rng: np.random.Generator, screens: Screens, kind: str, text: str, place: int) -> Question | None:
    """The colour of a shape in the first or the last screen, which differ in it.

    Args:
        rng: chooses the shape.
        screens: for each screen, everything drawn in it.
        kind: name of the task.
        text: the question, in which `{shape}` and `{name}` (with the first colour) stand for the shape.
        place: 0 for the colour in the first screen, −1 for that in the last.
    """
    change = _recoloured(rng, screens)
    if change is None:
        return None
    named = text.format(shape=change[0].shape, name=change[0].name)
    return Question(kind, named, change[place].colour, tuple(COLOURS), "first" if place == 0 else "last")


def _recoloured(rng: np.random.Generator, screens: Screens) -> tuple[SceneObject, SceneObject] | None:
    """A shape in the first and the last screen, in two colours, alone of its form."""
    forms = Counter(thing.shape for thing in shapes_of(screens[0]))
    pairs = zip(shapes_of(screens[0]), shapes_of(screens[-1]), strict=True)
    fitting = [(old, new) for old, new in pairs if forms[old.shape] == 1 and old.colour != new.colour]
    return fitting[int(rng.integers(len(fitting)))] if fitting else None


def ask_digit(rng: np.random.Generator, screens: Screens) -> Question | None:
    """The digit of the last screen, which the first does not show."""
    first, last = ([thing.text for thing in screen if thing.kind == "digit"] for screen in (screens[0], screens[-1]))
    if not last or first == last:
        return None
    return Question("digit", "What digit is shown in the last picture?", last[0], DIGITS, "last")


def ask_presence(rng: np.random.Generator, screens: Screens) -> Question | None:
    """Whether a shape of a colour is in the last screen.

    If the answer is yes, the first screen lacks it; if no, the first screen has it. Both come equally often.
    """
    first, last = ({(thing.colour, thing.shape) for thing in shapes_of(screen)} for screen in (screens[0], screens[-1]))
    truthful = rng.random() < 0.5
    fitting = sorted(last - first if truthful else first - last)
    if not fitting:
        return None
    colour, shape = fitting[int(rng.integers(len(fitting)))]
    text = f"Is there {article(colour)} {colour} {shape} in the last picture?"
    return Question("presence", text, "yes" if truthful else "no", YES_NO, "last")


def _colours(kind: str, text: str, place: int) -> Asker:
    return partial(ask_recoloured, kind=kind, text=text, place=place)


_ASKERS: dict[str, Asker] = {
    "colour": _colours("colour", "What color is the {shape} in the last picture?", -1),
    "digit": ask_digit,
    "presence": ask_presence,
    "first": _colours("first", "What color is the {shape} in the first picture?", 0),
    "become": _colours("become", "What color does the {name} become?", -1),
}
SCREEN_TASKS: tuple[str, ...] = tuple(_ASKERS)
"""Kinds of questions about a history of screens."""
