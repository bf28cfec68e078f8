"""Questions about scenes in other words, and captions as full sentences.

`questions` asks each task in one stock wording, which is all that a small vocabulary can read. `reword` puts such a
question into other English words. Training wordings and held-out ones have no text in common: a model that is right on
both has understood the question rather than its form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from todre.errors import InvalidValueError
from todre.scenes.objects import Question
from todre.scenes.phrases import HELD_OUT, SENTENCE, TRAINING, WAYS
from todre.scenes.scene import SPLITS
from todre.scenes.vocabulary import article

_NAME = "[a-z]+(?: [a-z]+)?"
_WAYS = "|".join(WAYS)
_STOCK: dict[str, re.Pattern[str]] = {
    "presence": re.compile(rf"Is there an? (?P<name>{_NAME}) in the picture\?"),
    "colour": re.compile(rf"What color is the (?P<name>{_NAME})\?"),
    "shape": re.compile(rf"What shape is the (?P<name>{_NAME}) object\?"),
    "size": re.compile(rf"Is the (?P<name>{_NAME}) small or large\?"),
    "count": re.compile(rf"How many (?P<name>{_NAME}) are there\?"),
    "relation": re.compile(rf"Is the (?P<name>{_NAME}) (?P<way>{_WAYS}) the (?P<other>{_NAME})\?"),
    "quadrant": re.compile(rf"Where is the (?P<name>{_NAME})\?"),
    "digit": re.compile(r"What digit is shown\?"),
    "word": re.compile(r"What word is written\?"),
    "caption": re.compile(r"Describe the picture\."),
    SENTENCE: re.compile(r"Describe the picture in a sentence\."),
}
WORDED: tuple[str, ...] = tuple(_STOCK)
"""Tasks whose questions have several wordings: those of scenes, and "sentence"."""


def wordings_of(task: str, split: str) -> tuple[str, ...]:
    """The wordings of a task's questions in a split, with names in braces.

    Args:
        task: a name from `WORDED`.
        split: "train" for the training wordings; "val" or "test" for the held-out ones.

    Raises:
        InvalidValueError: the task or the split is unknown.
    """
    if task not in WORDED:
        raise InvalidValueError(f"there are no wordings of the task {task!r}; use one of {', '.join(WORDED)}")
    if split not in SPLITS:
        raise InvalidValueError(f"there is no split named {split!r}; use one of {', '.join(SPLITS)}")
    return (TRAINING if split == "train" else HELD_OUT)[task]


def reword(question: Question, rng: np.random.Generator, split: str) -> Question:
    """The same question in other words; only its text changes.

    Args:
        question: a question in its stock wording, from `questions`, `ask`, `make_scene` or `as_sentence`.
        rng: chooses the wording.
        split: "train" takes a training wording, "val" and "test" a held-out one.

    Raises:
        InvalidValueError: the task has no wordings, the split is unknown, or the text is not the stock wording.
    """
    choices = wordings_of(question.task, split)
    found = _STOCK[question.task].fullmatch(question.text)
    if found is None:
        raise InvalidValueError(
            f"{question.text!r} is not the stock wording of a {question.task} question about a scene"
        )
    wording = choices[int(rng.integers(len(choices)))]
    return replace(question, text=wording.format(**_names(found.groupdict())))


def _names(found: Mapping[str, str]) -> dict[str, str]:
    """What the braces of a wording stand for."""
    names = dict(found)
    if "name" in found:
        names |= {"a": article(found["name"]), "A": article(found["name"]).capitalize()}
    if "way" in found:
        names |= WAYS[found["way"]]
    return names


def as_sentence(caption: Question) -> Question:
    """A caption question as one of the task "sentence": its answer is a sentence.

    "red circle, blue star, green ring" becomes "There is a red circle, a blue star and a green ring." `score` marks
    it like a caption.

    Args:
        caption: a question of the task "caption".

    Raises:
        InvalidValueError: the question is of another task.
    """
    if caption.task != "caption":
        raise InvalidValueError(f"only a caption becomes a sentence, not a question of the task {caption.task!r}")
    *others, last = (f"{article(name)} {name}" for name in caption.answer.split(", "))
    listed = f"{', '.join(others)} and {last}" if others else last
    return replace(caption, task=SENTENCE, text="Describe the picture in a sentence.", answer=f"There is {listed}.")
