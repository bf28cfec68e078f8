"""Pictures and questions of each training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from todre.hf.keywords import PIXELS
from todre.pages import Page, make_page
from todre.pages import ask as ask_page
from todre.scenes import Question, Scene, as_sentence, ask, make_scene, reword
from todre.scenes.questions import every_count, unique_pairs
from todre.tiny.model import build_image_processor

SHORT_SIZES: tuple[tuple[int, int], ...] = ((96, 96), (128, 128))
"""Sizes (width, height) in pixels of pictures that are shown as thumbnails alone."""
FULL_SIZES: tuple[tuple[int, int], ...] = ((192, 192), (192, 192), (192, 96), (192, 192), (192, 192), (96, 192))
"""Sizes of pictures that are shown as thumbnail and crops, in turn."""
TASK_MIX: dict[str, int] = {
    "presence": 6,
    "colour": 3,
    "shape": 3,
    "size": 2,
    "count": 6,
    "relation": 7,
    "quadrant": 3,
    "digit": 1,
    "word": 1,
    "caption": 1,
}
"""How many questions of each task are asked about one picture.

Equal questions are asked once.
"""
WEAK_MIX: dict[str, int] = {
    "presence": 2,
    "colour": 2,
    "shape": 2,
    "size": 2,
    "count": 12,
    "relation": 8,
    "quadrant": 6,
    "digit": 1,
    "word": 1,
    "caption": 2,
}
"""As `TASK_MIX`, with more of what is learned last."""
COUNTS_MIX: dict[str, int] = {**WEAK_MIX, "count": 0}
"""What is asked beside the counts in `counts`."""
COUNT_MOST: dict[str, int] = {"0": 1, "1": 2, "2": 2, "3": 3, "4": 3}
"""By answer, at most how many counts of a picture are asked in `counts`."""
COUNT_WORDINGS = 2
"""Wordings that each of these counts is asked in, whatever the answer."""
COUNT_CHOICE = 8
"""Scenes of which the one is taken that shows most things three or four times."""
FIRSTS_MIX: dict[str, int] = {
    "presence": 2,
    "colour": 1,
    "shape": 1,
    "size": 1,
    "relation": 5,
    "quadrant": 3,
    "digit": 1,
    "word": 1,
    "caption": 1,
}
"""What is asked beside the counts in `firsts`, so that it is not forgotten."""
PLACE = "place"
"""Task of the questions that only training asks."""
PLACES = 6
"""Strips that a picture is cut into for the questions about places."""
_PLACE_QUESTIONS = 4
PAGE_MIX: dict[str, int] = {"reading": 10, "locating": 10, "sum": 8, "count": 5}
"""How many questions of each task are asked about one page.

Equal questions are asked once.
"""
PAGE_EVERY = 5
"""One picture of this many is a page, once pictures have crops."""
_REWORDED = 0.3
"""Share of questions about scenes that are reworded in the stages with crops."""


def step_seeds(first: int, step: int, batch: int, rank: int, world: int) -> range:
    """Seeds of the scenes that one process trains on in one step.

    No two steps or processes share a seed.
    """
    start = first + (step * world + rank) * batch
    return range(start, start + batch)


def training_questions(scene: Scene, step: int, mix: Mapping[str, int] = TASK_MIX) -> list[Question]:
    """Questions about a scene, new ones for each step, each text once.

    Args:
        scene: the picture to ask about.
        step: seeds the choice of questions, together with the scene's own seed.
        mix: how many questions of each task are asked.
    """
    rng = np.random.default_rng([scene.seed, step, 77])
    tasks = [task for task, times in mix.items() for _ in range(times)]
    questions = [*ask(rng, scene.objects, tasks, *scene.size), *place_questions(rng, scene)]
    return list({question.text: question for question in questions}.values())


def worded_questions(scene: Scene, step: int, mix: Mapping[str, int] = TASK_MIX) -> list[Question]:
    """Training questions, a share of them in other words.

    Half of the captions are sentences.

    Args:
        scene: the picture to ask about.
        step: seeds the choice of questions and of their wording.
        mix: how many questions of each task are asked.
    """
    rng = np.random.default_rng([scene.seed, step, 79])
    asked = []
    for question in training_questions(scene, step, mix):
        if question.task == "caption" and rng.random() < 0.5:
            question = as_sentence(question)
        if question.task != PLACE and rng.random() < _REWORDED:
            question = reword(question, rng, "train")
        asked.append(question)
    return list({question.text: question for question in asked}.values())


def counting_questions(
    scene: Scene, step: int, mix: Mapping[str, int] = COUNTS_MIX, wordings: int = COUNT_WORDINGS
) -> list[Question]:
    """Training questions with counts whose answers come about equally often.

    The task draws its answers so. But equal questions are asked once, and few things in a picture are there four times:
    drawn as in `WEAK_MIX`, 0 and 1 came six times as often as 4 over 200 scenes, and the model never said 4. All counts
    are asked in as many wordings: where only large ones were reworded, the model learned the wording.

    Args:
        scene: the picture to ask about, of `counting_scene`.
        step: seeds the choice of questions and of their wording.
        mix: how many questions of each other task are asked.
        wordings: of each count, the plain one among them; with 1, it is the plain one or another, equally often.
    """
    rng = np.random.default_rng([scene.seed, step, 89])
    asked = worded_questions(scene, step, mix)
    possible = every_count(scene.objects)
    for answer, most in COUNT_MOST.items():
        right = [question for question in possible if question.answer == answer]
        for index in rng.permutation(len(right))[:most].tolist():
            plain = [right[index]] if wordings > 1 or rng.random() < 0.5 else []
            asked += [*plain, *(reword(right[index], rng, "train") for _ in range(wordings - len(plain)))]
    return list({question.text: question for question in asked}.values())


def page_questions(page: Page, step: int) -> list[Question]:
    """Questions about a page, each text once; their tasks get the prefix "page-".

    Args:
        page: the page to ask about.
        step: seeds the choice of questions, together with the page's own seed.
    """
    rng = np.random.default_rng([page.seed, step, 83])
    asked = ask_page(rng, page, [task for task, times in PAGE_MIX.items() for _ in range(times)])
    named = [replace(question, task=f"page-{question.task}") for question in asked]
    return list({question.text: question for question in named}.values())


def place_questions(rng: np.random.Generator, scene: Scene) -> list[Question]:
    """Questions that only training asks: in which strip of the picture an object lies.

    Without them the model hardly learns to compare places, which questions of the task "relation" need.
    """
    unique = unique_pairs(scene.objects)
    width, height = scene.size
    asked = []
    for index in rng.permutation(len(unique))[: _PLACE_QUESTIONS // 2].tolist():
        thing = unique[index]
        for word, share in (("column", thing.x / width), ("row", thing.y / height)):
            answer = str(1 + min(PLACES - 1, int(share * PLACES)))
            asked.append(Question(PLACE, f"Which {word} is the {thing.name} in?", answer))
    return asked


def thumbnail_pixels(scenes: Sequence[Scene]) -> torch.Tensor:
    """(b, 3, 96, 96) float32 thumbnails as the image processor makes them."""
    return torch.stack([tiles[0] for tiles in tile_pixels(scenes)])


def tile_pixels(scenes: Sequence[Scene | Page]) -> list[torch.Tensor]:
    """For each picture, (tiles, 3, 96, 96) float32: thumbnail and crops."""
    processor = build_image_processor()
    return [processor(scene.image, return_tensors="pt")[PIXELS][0] for scene in scenes]


def small_scene(seed: int, split: str = "train") -> Scene:
    """The scene of a seed in one of `SHORT_SIZES`, in turn by seed."""
    return make_scene(seed, split, SHORT_SIZES[seed // 8 % len(SHORT_SIZES)])


def large_scene(seed: int, step: int, split: str = "train") -> Scene:
    """The scene of a seed in the step's size of `FULL_SIZES`."""
    return make_scene(seed, split, FULL_SIZES[step % len(FULL_SIZES)])


def counting_scene(seed: int, step: int, split: str = "train") -> Scene:
    """A scene of a seed in the step's size, chosen for its counts.

    Of `COUNT_CHOICE` scenes it is the one with most counts of three and four, the first of them if there are several.

    Seeds that differ by less than 10⁷ share no scene.
    """
    choice = [large_scene(seed + place * 10**7, step, split) for place in range(COUNT_CHOICE)]
    return max(choice, key=lambda scene: sum(question.answer in "34" for question in every_count(scene.objects)))


def large_page(seed: int, step: int, split: str = "train") -> Page:
    """The page of a seed in the step's size of `FULL_SIZES`."""
    return make_page(seed, split, FULL_SIZES[step % len(FULL_SIZES)])
