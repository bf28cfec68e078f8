"""Tasks on histories of ten screens, of the test split: as pictures, and as clips."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

from PIL import Image

from todre.evaluate.tasks.base import Item
from todre.evaluate.tasks.scenes import LIMIT, SPLIT, first_items, numbers
from todre.fields import Checked, OneOf
from todre.fields.kinds import Count
from todre.scenes.screens import SCREEN_TASKS, SceneHistory, make_history

SCREENS = "screens-"
CLIPS = SCREENS + "clip-"
AS_PICTURES: tuple[str, ...] = SCREEN_TASKS
"""Kinds of questions about a history that is shown as pictures."""
AS_CLIPS: tuple[str, ...] = ("become", "first")
"""Kinds of questions about a history that is shown as a clip."""
_FEW_TOKENS = 4


@dataclass(frozen=True)
class ScreensTask(Checked):
    """One kind of question about ten screens, at most one for each history.

    Args:
        kind: name in `todre.scenes.screens.SCREEN_TASKS`.
        video: whether the screens are the frames of one clip; else they are pictures.
        size: side of the square screens in pixels.
    """

    kind: Annotated[str, OneOf(SCREEN_TASKS)]
    video: bool = False
    size: Count = 96
    metric: str = "exact"

    @property
    def name(self) -> str:
        """The task's name in results, such as `screens-colour` or `screens-clip-become`."""
        return (CLIPS if self.video else SCREENS) + self.kind

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions of the seed's histories, where these have one."""
        return first_items(numbers(seed), LIMIT if limit is None else limit, self._about)

    def _about(self, number: int) -> list[Item]:
        history = history_of(number, self.size)
        return [
            Item(
                task=self.name,
                id=str(number),
                picture=f"{'clip-of-' * self.video}screens-{number}-{self.size}",
                media=tuple(functools.partial(screen, number, self.size, at) for at in range(len(history.images))),
                question=question.text,
                references=(question.answer,),
                metric=self.metric,
                kind=question.detail,
                new_tokens=_FEW_TOKENS,
                video=self.video,
            )
            for question in history.questions
            if question.task == self.kind
        ]


@functools.lru_cache(maxsize=512)
def history_of(number: int, size: int) -> SceneHistory:
    """A history, rendered once for all tasks."""
    return make_history(number, SPLIT, size)


def screen(number: int, size: int, place: int) -> Image.Image:
    """Screen `place` (0-based, oldest first) of a history."""
    return history_of(number, size).images[place]
