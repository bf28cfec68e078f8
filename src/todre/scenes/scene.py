"""Scenes by seed: the picture, its objects, and one question for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from todre.errors import InvalidValueError
from todre.scenes.background import BACKGROUNDS, paint_background
from todre.scenes.draw import draw_objects
from todre.scenes.layout import sample_objects
from todre.scenes.objects import Question, SceneObject
from todre.scenes.questions import ASKERS, TASKS

SPLITS: tuple[str, ...] = ("train", "val", "test")
SEEDS_PER_SPLIT = 2**40
_MIN_SIDE, _MAX_SIDE = 64, 1024


@dataclass(frozen=True)
class Scene:
    """A rendered picture and its true content.

    Args:
        seed, split: what `make_scene` was called with.
        image: the picture, RGB.
        objects: everything drawn, in drawing order.
        owners: (height, width) uint8 array; 0 for background, i + 1 where `objects[i]` shows.
        background: "plain", "textured" or "photographic".
        questions: at most one question for each task, in the order of `TASKS`.
    """

    seed: int
    split: str
    image: Image.Image
    objects: tuple[SceneObject, ...]
    owners: NDArray[np.uint8] = field(repr=False)
    background: str
    questions: list[Question]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.width, self.image.height


def make_scene(seed: int, split: str = "train", size: int | tuple[int, int] = 192) -> Scene:
    """Render the scene that belongs to a seed.

    Equal arguments give equal pixels and questions.

    Args:
        seed: 0 ≤ seed < 2**40. The splits use disjoint ranges of an underlying seed.
        split: "train", "val" or "test".
        size: side of a square picture, or (width, height), in pixels.

    Raises:
        InvalidValueError: a seed, split or size is not valid.
    """
    width, height = scene_size(size)
    rng = _generator(seed, split, width, height)
    objects = sample_objects(rng, width, height)
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    image = paint_background(rng, background, width, height)
    owners = draw_objects(rng, image, objects)
    questions = ask(rng, objects, TASKS, width, height)
    return Scene(seed, split, image, objects, owners, background, questions)


def scene_objects(seed: int, split: str = "train", size: int | tuple[int, int] = 192) -> tuple[SceneObject, ...]:
    """The objects that `make_scene` would draw; nothing is drawn."""
    width, height = scene_size(size)
    return sample_objects(_generator(seed, split, width, height), width, height)


def _generator(seed: int, split: str, width: int, height: int) -> np.random.Generator:
    return np.random.default_rng([absolute_seed(seed, split), width, height])


def absolute_seed(seed: int, split: str) -> int:
    """The underlying seed that belongs to a split and a seed within the split.

    Each split has 2**40 underlying seeds.

    Raises:
        InvalidValueError: the split is unknown, or the seed is outside 0 to 2**40 − 1.
    """
    if split not in SPLITS:
        raise InvalidValueError(f"there is no split named {split!r}; use one of {', '.join(SPLITS)}")
    if isinstance(seed, bool) or not 0 <= seed < SEEDS_PER_SPLIT:
        raise InvalidValueError(f"a scene's seed is an integer from 0 to 2**40 - 1, not {seed!r}")
    return SPLITS.index(split) * SEEDS_PER_SPLIT + int(seed)


def ask(
    rng: np.random.Generator, objects: Sequence[SceneObject], tasks: Sequence[str], width: int, height: int
) -> list[Question]:
    """One question for each entry of `tasks`, which may repeat.

    Tasks that the scene has no answer for are left out.

    Args:
        rng: chooses what a question asks about.
        objects: everything in the scene.
        tasks: names from `TASKS`.
        width, height: size of the picture in pixels.
    """
    drawn = (ASKERS[_checked_task(task)](rng, objects, width, height) for task in tasks)
    return [question for question in drawn if question is not None]


def questions(
    tasks: Sequence[str], n: int, split: str = "val", size: int | tuple[int, int] = 192, start: int = 0
) -> Iterator[tuple[Scene, Question]]:
    """Yield `n` pairs of scene and question, in the order of the scenes' seeds.

    Every scene is used for each of `tasks` that it can answer, so that tasks come in turn and nearly equally often.

    Args:
        tasks: names from `TASKS`.
        n: number of pairs.
        split: "train", "val" or "test".
        size: side of a square picture, or (width, height), in pixels.
        start: seed of the first scene.

    Raises:
        InvalidValueError: a task, split or size is not valid, or there is no task.
    """
    chosen_tasks = {_checked_task(task) for task in tasks}
    if not chosen_tasks:
        raise InvalidValueError(f"no task of scenes is named; use some of {', '.join(TASKS)}")
    left, seed = n, start
    while left > 0:
        scene = make_scene(seed, split, size)
        for question in [q for q in scene.questions if q.task in chosen_tasks][:left]:
            yield scene, question
            left -= 1
        seed += 1


def _checked_task(task: str) -> str:
    if task not in ASKERS:
        raise InvalidValueError(f"there is no task named {task!r}; use one of {', '.join(TASKS)}")
    return task


def scene_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a scene in pixels.

    Raises:
        InvalidValueError: a side is too short or too long.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if not (_MIN_SIDE <= width <= _MAX_SIDE and _MIN_SIDE <= height <= _MAX_SIDE):
        raise InvalidValueError(f"a scene's sides are {_MIN_SIDE} to {_MAX_SIDE} pixels, not {width} by {height}")
    return width, height
