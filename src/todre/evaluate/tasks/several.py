"""Tasks on two or three pictures, and on short clips, of the test split."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image

from todre.evaluate.tasks.base import Item
from todre.evaluate.tasks.scenes import LIMIT, PREFIX, SPLIT, first_items, numbers
from todre.fields import Checked, OneOf
from todre.fields.kinds import Count
from todre.scenes import SceneClip, SceneSet, make_clip, make_set
from todre.scenes.motion import CLIP_TASKS, ask_motion
from todre.scenes.several import SET_TASKS

MULTI = PREFIX + "multi-"
VIDEO = PREFIX + "video-"
SIDE = 96
"""Largest side of pictures and frames in pixels."""
FRAMES = 6
"""Number of frames of a clip."""
_FEW_TOKENS = 4


@dataclass(frozen=True)
class SetTask(Checked):
    """One kind of question about several pictures, at most one for each set.

    Args:
        kind: name in `todre.scenes.several.SET_TASKS`.
        size: side of the square pictures in pixels.
    """

    kind: Annotated[str, OneOf(SET_TASKS)]
    size: Count = SIDE
    metric: str = "exact"

    @property
    def name(self) -> str:
        """The task's name in results, such as `scenes-multi-which`."""
        return MULTI + self.kind

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions of the seed's sets; sets without a question are skipped."""
        return first_items(numbers(seed), LIMIT if limit is None else limit, self._about)

    def _about(self, number: int) -> list[Item]:
        pictures = set_of(number, self.size)
        return [
            Item(
                task=self.name,
                id=str(number),
                picture=f"set-{number}-{self.size}",
                media=tuple(
                    functools.partial(set_image, number, self.size, place) for place in range(len(pictures.images))
                ),
                question=question.text,
                references=(question.answer,),
                metric=self.metric,
                kind=question.detail,
                new_tokens=_FEW_TOKENS,
            )
            for question in pictures.questions
            if question.task == self.kind
        ]


@dataclass(frozen=True)
class ClipTask(Checked):
    """One kind of question about clips, at most one for each clip.

    Args:
        kind: name in `todre.scenes.motion.CLIP_TASKS`.
        size: side of the square frames in pixels.
    """

    kind: Annotated[str, OneOf(tuple(CLIP_TASKS))]
    size: Count = SIDE
    metric: str = "exact"

    @property
    def name(self) -> str:
        """The task's name in results, such as `scenes-video-moves`."""
        return VIDEO + self.kind

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions of the seed's clips of one event."""
        return first_items(numbers(seed), LIMIT if limit is None else limit, self._about)

    def _about(self, number: int) -> list[Item]:
        event = CLIP_TASKS[self.kind]
        clip = clip_of(number, self.size, event)
        rng = np.random.default_rng([number, self.size, list(CLIP_TASKS).index(self.kind)])
        return [
            Item(
                task=self.name,
                id=str(number),
                picture=f"clip-{event}-{number}-{self.size}",
                media=tuple(functools.partial(clip_frame, number, self.size, event, place) for place in range(FRAMES)),
                question=question.text,
                references=(question.answer,),
                metric=self.metric,
                new_tokens=_FEW_TOKENS,
                video=True,
            )
            for question in ask_motion(rng, clip.objects, event, (self.kind,))
        ]


@functools.lru_cache(maxsize=512)
def set_of(number: int, size: int) -> SceneSet:
    """A set of pictures, rendered once for all tasks."""
    return make_set(number, SPLIT, size)


def set_image(number: int, size: int, place: int) -> Image.Image:
    """Picture `place` (0-based) of a set."""
    return set_of(number, size).images[place]


@functools.lru_cache(maxsize=512)
def clip_of(number: int, size: int, event: str) -> SceneClip:
    """A clip, rendered once for all tasks."""
    return make_clip(number, FRAMES, size, SPLIT, event)


def clip_frame(number: int, size: int, event: str, place: int) -> Image.Image:
    """Frame `place` (0-based) of a clip."""
    return clip_of(number, size, event).frames[place]
