"""The stages with the decoder: thumbnails, then crops too, then what is weak."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from todre.pages import Page
from todre.scenes import Question, Scene
from todre.smol.training.chunks import collate, pack
from todre.smol.training.data import (
    FIRSTS_MIX,
    PAGE_EVERY,
    WEAK_MIX,
    counting_questions,
    counting_scene,
    large_page,
    large_scene,
    page_questions,
    small_scene,
    step_seeds,
    thumbnail_pixels,
    tile_pixels,
    training_questions,
    worded_questions,
)
from todre.smol.training.firsts import WEIGHT, first_patches, marks_loss
from todre.smol.training.learner import Learner, answer_loss

FIRSTS_WEIGHTS = {"count": 4.0}
"""Weights of tasks in `firsts`.

Tokens of counts weigh more: they are short, and captions would outweigh them.
"""
Result = tuple[torch.Tensor, dict[str, float]]
Ask = Callable[[Scene, int], list[Question]]
Draw = Callable[[int, int, str], Scene]


@dataclass(frozen=True)
class Slice:
    """The pictures of one step for one process.

    Attributes:
        first: seed from which the stage counts.
        step: number of the step, from 0.
        batch: pictures for each process.
        rank, world: number of this process (from 0), and the number of processes.
        split: "train", "val" or "test".
    """

    first: int
    step: int
    batch: int
    rank: int = 0
    world: int = 1
    split: str = "train"

    def seeds(self) -> range:
        """Seeds of the pictures."""
        return step_seeds(self.first, self.step, self.batch, self.rank, self.world)


def short_loss(learner: Learner, which: Slice) -> Result:
    """Loss of questions behind thumbnails of small pictures (144 visual tokens)."""
    scenes = [small_scene(seed, which.split) for seed in which.seeds()]
    chunks = collate([pack(learner.pieces, training_questions(scene, which.step)) for scene in scenes])
    visual = learner.thumbnails(thumbnail_pixels(scenes))
    return answer_loss(learner, learner.hidden(visual, chunks), chunks)


def full_loss(learner: Learner, which: Slice, ask: Ask = worded_questions, draw: Draw = large_scene) -> Result:
    """Loss of questions behind thumbnail and crops, of scenes and of pages.

    Pictures of 192 × 192 pixels have 744 visual tokens. One process in one step has pages or scenes, not both.

    Args:
        learner: the model.
        which: the pictures.
        ask: from a scene and the number of the step to the questions about it.
        draw: from a seed, the number of the step and a split to a scene.
    """
    pictures: list[Scene] | list[Page]
    if (which.step * which.world + which.rank) % PAGE_EVERY == PAGE_EVERY - 1:
        pictures = [large_page(seed, which.step, which.split) for seed in which.seeds()]
        asked = [page_questions(page, which.step) for page in pictures]
    else:
        pictures = [draw(seed, which.step, which.split) for seed in which.seeds()]
        asked = [ask(scene, which.step) for scene in pictures]
    chunks = collate([pack(learner.pieces, questions) for questions in asked])
    visual = learner.with_crops(tile_pixels(pictures), [picture.size for picture in pictures])
    return answer_loss(learner, learner.hidden(visual, chunks), chunks)


def firsts_loss(learner: Learner, which: Slice) -> Result:
    """Loss of questions, many of them counts, and of the marks of `firsts`.

    They stand behind thumbnail and crops of scenes.
    """
    scenes = [counting_scene(seed, which.step, which.split) for seed in which.seeds()]
    asked = [counting_questions(scene, which.step, FIRSTS_MIX, wordings=1) for scene in scenes]
    chunks = collate([pack(learner.pieces, questions) for questions in asked])
    visual = learner.with_crops(tile_pixels(scenes), [scene.size for scene in scenes])
    hidden, early = learner.watched(visual, chunks)
    loss, counts = answer_loss(learner, hidden, chunks, FIRSTS_WEIGHTS)
    marks, found = marks_loss(learner.marks, early, [first_patches(scene) for scene in scenes])
    return loss + WEIGHT * marks, {**counts, **found}


@dataclass(frozen=True)
class Stage:
    """A stage of training.

    Attributes:
        name: its name on the command line and in the names of its files.
        before: name of the stage whose result it starts from.
        loss: the loss of one step, and numbers for the log.
        first: seed of its first picture.
    """

    name: str
    before: str
    loss: Callable[[Learner, Slice], Result]
    first: int


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("short", "warm", short_loss, 10**8),
        Stage("full", "places", full_loss, 2 * 10**8),
        Stage(
            "weak",
            "full",
            functools.partial(full_loss, ask=functools.partial(worded_questions, mix=WEAK_MIX)),
            3 * 10**8,
        ),
        Stage("counts", "weak", functools.partial(full_loss, ask=counting_questions, draw=counting_scene), 7 * 10**8),
        Stage("firsts", "counts", firsts_loss, 9 * 10**8),
    )
}
