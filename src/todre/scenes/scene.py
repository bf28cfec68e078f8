"""Make a scene from a seed: the picture, what is in it, and one question for each task."""

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
    """A rendered picture and the truth about it.

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
    """Render the scene `seed` of `split`; equal arguments give equal pixels and questions.

    Args:
        seed: 0 ≤ seed < 2**40. The splits use disjoint ranges of an underlying seed.
        split: "train", "val" or "test".
        size: side of a square picture, or (width, height), in pixels.

    Raises:
        InvalidValueError: for a seed, split or size outside these.
    """
    width, height = checked_size(size)
    rng = _generator(seed, split, width, height)
    objects = sample_objects(rng, width, height)
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    image = paint_background(rng, background, width, height)
    owners = draw_objects(rng, image, objects)
    questions = ask(rng, objects, TASKS, width, height)
    return Scene(seed, split, image, objects, owners, background, questions)


def scene_objects(seed: int, split: str = "train", size: int | tuple[int, int] = 192) -> tuple[SceneObject, ...]:
    """What `make_scene` would draw, without drawing it."""
    width, height = checked_size(size)
    return sample_objects(_generator(seed, split, width, height), width, height)


def _generator(seed: int, split: str, width: int, height: int) -> np.random.Generator:
    return np.random.default_rng([absolute_seed(seed, split), width, height])


def absolute_seed(seed: int, split: str) -> int:
    """The seed underneath: each split owns its own 2**40 of them."""
    if split not in SPLITS:
        raise InvalidValueError(f"there is no split named {split!r}; use one of {', '.join(SPLITS)}")
    if isinstance(seed, bool) or not 0 <= seed < SEEDS_PER_SPLIT:
        raise InvalidValueError(f"a scene's seed is an integer from 0 to 2**40 - 1, not {seed!r}")
    return SPLITS.index(split) * SEEDS_PER_SPLIT + int(seed)


def ask(
    rng: np.random.Generator, objects: Sequence[SceneObject], tasks: Sequence[str], width: int, height: int
) -> list[Question]:
    """One question for each entry of `tasks` (which may repeat), less those that the scene has no answer for."""
    asked = (ASKERS[_checked_task(task)](rng, objects, width, height) for task in tasks)
    return [question for question in asked if question is not None]


def questions(
    tasks: Sequence[str], n: int, split: str = "val", size: int | tuple[int, int] = 192, start: int = 0
) -> Iterator[tuple[Scene, Question]]:
    """Yield `n` (scene, question) pairs of `split`, walking through the seeds from `start`.

    Every scene is used for each of `tasks` that it can answer; tasks therefore come in turn, in near-equal numbers.
    """
    wanted = {_checked_task(task) for task in tasks}
    left, seed = n, start
    while left > 0:
        scene = make_scene(seed, split, size)
        for question in [q for q in scene.questions if q.task in wanted][:left]:
            yield scene, question
            left -= 1
        seed += 1


def _checked_task(task: str) -> str:
    if task not in ASKERS:
        raise InvalidValueError(f"there is no task named {task!r}; use one of {', '.join(TASKS)}")
    return task


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a scene, or `InvalidValueError`."""
    width, height = (size, size) if isinstance(size, int) else size
    if not (_MIN_SIDE <= width <= _MAX_SIDE and _MIN_SIDE <= height <= _MAX_SIDE):
        raise InvalidValueError(f"a scene's sides are {_MIN_SIDE} to {_MAX_SIDE} pixels, not {width} by {height}")
    return width, height
