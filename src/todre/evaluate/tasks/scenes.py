"""Tasks on rendered scenes of the unseen test split, one for each scene task."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from PIL import Image

from todre.errors import InvalidValueError
from todre.evaluate.tasks.base import Item
from todre.fields import Checked, OneOf
from todre.fields.kinds import Count
from todre.scenes import TASKS, Scene, make_scene

PREFIX = "scenes-"
SPLIT = "test"
LIMIT = 200
"""Number of questions of a generated task for which no limit is given."""
SEEDS = 2**20
"""Number of scenes of one seed; the next seed's scenes follow them."""
_NEW_TOKENS = {"caption": 48}
_FEW_TOKENS = 4
WorldT = TypeVar("WorldT")


@dataclass(frozen=True)
class SceneTask(Checked):
    """One kind of question about scenes, at most one for each scene.

    Args:
        kind: name in `todre.scenes.TASKS`.
        size: side of the square pictures in pixels.
    """

    kind: Annotated[str, OneOf(TASKS)]
    size: Count = 192

    @property
    def name(self) -> str:
        """The task's name in results, such as `scenes-colour`."""
        return PREFIX + self.kind

    @property
    def metric(self) -> str:
        """The metric of all items: `pairs-f1` for captions, else `exact`."""
        return "pairs-f1" if self.kind == "caption" else "exact"

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions of the seed's scenes; scenes without any are skipped."""
        return first_items(scenes(seed, self.size), LIMIT if limit is None else limit, self.about)

    def about(self, scene: Scene) -> list[Item]:
        """The question of this kind about a scene, or nothing."""
        questions = [question for question in scene.questions if question.task == self.kind]
        return [self._item(scene, question.text, question.answer) for question in questions]

    def _item(self, scene: Scene, text: str, answer: str) -> Item:
        return Item(
            task=self.name,
            id=str(scene.seed),
            picture=picture_name(scene.seed, self.size),
            media=(functools.partial(scene_image, scene.seed, self.size),),
            question=text,
            references=(answer,),
            metric=self.metric,
            new_tokens=_NEW_TOKENS.get(self.kind, _FEW_TOKENS),
        )


def scenes(seed: int, size: int) -> Iterator[Scene]:
    """Scenes of a seed, in order; raises as `numbers` does."""
    return (scene_of(number, size) for number in numbers(seed))


def numbers(seed: int) -> Iterator[int]:
    """Numbers of a seed's scenes, sets or clips, in order.

    Raises:
        InvalidValueError: the seed is below 0.
    """
    if isinstance(seed, bool) or seed < 0:
        raise InvalidValueError(f"seed must be a whole number of at least 0, not {seed!r}.")
    return iter(range(seed * SEEDS, (seed + 1) * SEEDS))


def first_items(worlds: Iterable[WorldT], count: int, about: Callable[[WorldT], Sequence[Item]]) -> tuple[Item, ...]:
    """The first `count` questions, in order.

    Args:
        worlds: scenes, or numbers of sets or clips.
        count: how many questions.
        about: returns all questions about one of `worlds`.
    """
    questions = itertools.chain.from_iterable(map(about, worlds))
    return tuple(itertools.islice(questions, count))


def picture_name(number: int, size: int) -> str:
    """Name of a scene's picture."""
    return f"scene-{number}-{size}"


@functools.lru_cache(maxsize=512)
def scene_of(number: int, size: int) -> Scene:
    """A scene of the test split, rendered once for all tasks."""
    return make_scene(number, SPLIT, size)


def scene_image(number: int, size: int) -> Image.Image:
    """The picture of a scene."""
    return scene_of(number, size).image
