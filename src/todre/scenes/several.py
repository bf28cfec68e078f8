"""Sets of two or three pictures, and questions that need more than one picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from todre.scenes.background import BACKGROUNDS, paint_background
from todre.scenes.draw import draw_objects
from todre.scenes.layout import sample_few
from todre.scenes.objects import Question, SceneObject
from todre.scenes.questions import shapes_of
from todre.scenes.scene import absolute_seed, scene_size
from todre.scenes.vocabulary import COLOURS, DIGITS, SHAPES, YES_NO, article

ORDINALS: tuple[str, ...] = ("first", "second", "third")
Pictures = Sequence[Sequence[SceneObject]]
Asker = Callable[[np.random.Generator, Pictures], Question | None]

_TAG = 0x5E7
"""Extra seed, so that a set differs from the scene and clip of equal seed."""


@dataclass(frozen=True)
class SceneSet:
    """Pictures that are asked about together, and their true content.

    Args:
        seed, split: what `make_set` was called with.
        images: two or three pictures of one size, RGB.
        objects: for each picture, everything drawn in it, in drawing order.
        questions: at most one question of each kind, in the order of `SET_TASKS`.
    """

    seed: int
    split: str
    images: tuple[Image.Image, ...]
    objects: tuple[tuple[SceneObject, ...], ...]
    questions: list[Question]


def make_set(seed: int, split: str = "train", size: int | tuple[int, int] = 96) -> SceneSet:
    """Render the set of pictures that belongs to a seed.

    Equal arguments give equal pixels and questions. Each picture has three to five shapes and a digit. Later
    pictures often repeat one shape of the first picture as it is, and one of its forms in another colour, so that a
    look at the wrong picture gives a wrong answer.

    Args:
        seed: 0 ≤ seed < 2**40, as for `make_scene`.
        split: "train", "val" or "test".
        size: side of square pictures, or (width, height), in pixels.

    Raises:
        InvalidValueError: a seed, split or size is not valid.
    """
    width, height = scene_size(size)
    rng = np.random.default_rng([absolute_seed(seed, split), width, height, _TAG])
    objects = _sample(rng, width, height)
    images = []
    for things in objects:
        image = paint_background(rng, BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], width, height)
        draw_objects(rng, image, things)
        images.append(image)
    return SceneSet(seed, split, tuple(images), objects, ask_set(rng, objects, SET_TASKS))


def set_objects(
    seed: int, split: str = "train", size: int | tuple[int, int] = 96
) -> tuple[tuple[SceneObject, ...], ...]:
    """The objects that `make_set` would draw in each picture; nothing is drawn."""
    width, height = scene_size(size)
    return _sample(np.random.default_rng([absolute_seed(seed, split), width, height, _TAG]), width, height)


def _sample(rng: np.random.Generator, width: int, height: int) -> tuple[tuple[SceneObject, ...], ...]:
    count = int(rng.integers(2, len(ORDINALS) + 1))
    sampled = [sample_few(rng, width, height) for _ in range(count)]
    return (sampled[0], *(_related(rng, sampled[0], things) for things in sampled[1:]))


def _related(
    rng: np.random.Generator, first: Sequence[SceneObject], things: tuple[SceneObject, ...]
) -> tuple[SceneObject, ...]:
    """`things`, up to two of which now resemble shapes of the first picture.

    One shape takes both colour and form of a shape in the first picture. Another takes the form, in a different colour.
    Each change happens nine times in ten.
    """
    models = shapes_of(first)
    places = [place for place, thing in enumerate(things) if thing.kind == "shape"]
    changed = list(things)
    for place, twin in zip(rng.permutation(places)[:2].tolist(), (True, False), strict=False):
        model = models[int(rng.integers(len(models)))]
        others = [colour for colour in COLOURS if colour != model.colour]
        colour = model.colour if twin else others[int(rng.integers(len(others)))]
        if rng.random() < 0.9:
            changed[place] = replace(changed[place], colour=colour, shape=model.shape)
    return tuple(changed)


def ask_set(rng: np.random.Generator, pictures: Pictures, tasks: Sequence[str]) -> list[Question]:
    """One question for each entry of `tasks`, which may repeat.

    Tasks that the pictures have no answer for are left out.

    Args:
        rng: chooses what a question asks about.
        pictures: for each picture, everything drawn in it.
        tasks: names from `SET_TASKS`.
    """
    questions = (_ASKERS[task](rng, pictures) for task in tasks)
    return [question for question in questions if question is not None]


def _names(things: Sequence[SceneObject]) -> set[tuple[str, str]]:
    return {(thing.colour, thing.shape) for thing in shapes_of(things)}


def _only_in(pictures: Pictures, place: int) -> list[tuple[str, str]]:
    """Colour and shape of the things in one picture and in no other, sorted."""
    elsewhere = set().union(*(_names(things) for number, things in enumerate(pictures) if number != place))
    return sorted(_names(pictures[place]) - elsewhere)


def ask_which(rng: np.random.Generator, pictures: Pictures) -> Question | None:
    """Which picture: the only picture that holds a certain shape."""
    place = int(rng.integers(len(pictures)))
    there = _only_in(pictures, place)
    if not there:
        return None
    colour, shape = there[int(rng.integers(len(there)))]
    text = f"In which picture is the {colour} {shape}?"
    return Question("which", text, ORDINALS[place], ORDINALS[: len(pictures)], ORDINALS[place])


def ask_both(rng: np.random.Generator, pictures: Pictures) -> Question | None:
    """Both: whether a shape is in both of two pictures.

    If the answer is no, the shape is in one picture. None unless the pictures allow both a yes and a no.
    """
    if len(pictures) != 2:
        return None
    truthful = rng.random() < 0.5
    place = int(rng.integers(2))
    shared, alone = sorted(_names(pictures[0]) & _names(pictures[1])), _only_in(pictures, place)
    if not shared or not alone:
        return None
    fitting = shared if truthful else alone
    colour, shape = fitting[int(rng.integers(len(fitting)))]
    text = f"Is there {article(colour)} {colour} {shape} in both pictures?"
    return Question("both", text, "yes" if truthful else "no", YES_NO, "both" if truthful else ORDINALS[place])


def ask_colour(rng: np.random.Generator, pictures: Pictures) -> Question | None:
    """The colour of a shape in one picture.

    Some other picture has that shape too, and no other picture has it in the same colour.
    """
    rivalled = _rivalled(rng, pictures, "shape", "colour")
    if rivalled is None:
        return None
    place, thing = rivalled
    text = f"What color is the {thing.shape} in the {ORDINALS[place]} picture?"
    return Question("colour", text, thing.colour, tuple(COLOURS), ORDINALS[place])


def ask_shape(rng: np.random.Generator, pictures: Pictures) -> Question | None:
    """The shape of the only object of a colour in one picture.

    Some other picture has that colour too, and no other picture has it on the same shape.
    """
    rivalled = _rivalled(rng, pictures, "colour", "shape")
    if rivalled is None:
        return None
    place, thing = rivalled
    text = f"What shape is the {thing.colour} object in the {ORDINALS[place]} picture?"
    return Question("shape", text, thing.shape, SHAPES, ORDINALS[place])


def _rivalled(rng: np.random.Generator, pictures: Pictures, known: str, answer: str) -> tuple[int, SceneObject] | None:
    """A picture (from 0) and a thing in it that a wrong look would confuse.

    The attribute `known` has a value that no other thing in the picture has. Things of equal `known` exist in other
    pictures, and none of these has the same `answer`.
    """
    place = int(rng.integers(len(pictures)))
    here = shapes_of(pictures[place])
    others = [thing for number, things in enumerate(pictures) if number != place for thing in shapes_of(things)]
    alone = Counter(getattr(thing, known) for thing in here)
    fitting = []
    for thing in here:
        rivals = {getattr(other, answer) for other in others if getattr(other, known) == getattr(thing, known)}
        if alone[getattr(thing, known)] == 1 and rivals and getattr(thing, answer) not in rivals:
            fitting.append(thing)
    return (place, fitting[int(rng.integers(len(fitting)))]) if fitting else None


def ask_digit(rng: np.random.Generator, pictures: Pictures) -> Question | None:
    """The digit of one picture, which no other picture shows."""
    place = int(rng.integers(len(pictures)))
    shown = [[thing.text for thing in things if thing.kind == "digit"] for things in pictures]
    here = shown.pop(place)
    if not here or here in shown:
        return None
    return Question("digit", f"What digit is shown in the {ORDINALS[place]} picture?", here[0], DIGITS, ORDINALS[place])


_ASKERS: dict[str, Asker] = {
    "which": ask_which,
    "both": ask_both,
    "colour": ask_colour,
    "shape": ask_shape,
    "digit": ask_digit,
}
SET_TASKS: tuple[str, ...] = tuple(_ASKERS)
"""Kinds of questions about several pictures."""
