"""What instruments ask: questions of the scenes, or of a file of one's own."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from todre.errors import InvalidValueError
from todre.fields import Checked, Items, OneOf
from todre.fields.kinds import Count
from todre.files import check_input
from todre.images import open_image
from todre.scenes import SPLITS, TASKS, Question, make_scene

_FIELDS = ("image", "question", "answer", "task")


@dataclass(frozen=True)
class Asked:
    """A question and its picture.

    Attributes:
        picture: what names the picture; questions about one picture are not independent.
        question: text, true answer and task.
        open: loads the picture, RGB.
    """

    picture: str
    question: Question
    open: Callable[[], Image.Image]

    def facts(self) -> dict[str, Any]:
        """What a result says about the question, ready for JSON."""
        asked = self.question
        return {"picture": self.picture, "task": asked.task, "question": asked.text, "answer": asked.answer}


@dataclass(frozen=True)
class Source(Checked):
    """Which questions are asked.

    Args:
        file: JSON lines of one's own, `{"image", "question", "answer", "task"}` each, image paths relative to the file,
            answer and task optional; None for the scenes.
        limit: how many questions.
        split: of the scenes.
        size: side of the scenes' square pictures in pixels.
        tasks: of the scenes; they come in turn, one for each scene, so that their numbers are near equal.
    """

    file: Path | None = None
    limit: Count = 60
    split: Annotated[str, OneOf(SPLITS)] = "test"
    size: Count = 192
    tasks: Annotated[tuple[Annotated[str, OneOf(TASKS)], ...], Items(least=1)] = TASKS

    def questions(self) -> list[Asked]:
        """The questions, in order.

        Raises:
            InvalidValueError: the file has a line that is no question; says which.
            ImageError: it names a picture that is not there.
        """
        return self._from_scenes() if self.file is None else _from_file(self.file)[: self.limit]

    def facts(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """What a result says about where its questions came from, ready for JSON."""
        counts = {"questions": len(asked), "pictures": len({one.picture for one in asked})}
        if self.file is not None:
            digest = hashlib.sha256(self.file.read_bytes()).hexdigest()
            return {"file": self.file.name, "sha256": digest, **counts}
        return {"split": self.split, "picture_size": self.size, "tasks": list(self.tasks), **counts}

    def _from_scenes(self) -> list[Asked]:
        """One question about each scene, so that no two share a picture; scenes without an answer are passed over."""
        asked: list[Asked] = []
        for seed in itertools.count():
            task = self.tasks[len(asked) % len(self.tasks)]
            fitting = [
                question for question in make_scene(seed, self.split, self.size).questions if question.task == task
            ]
            for question in fitting[:1]:
                picture = functools.partial(_scene_image, seed, self.split, self.size)
                asked.append(Asked(str(seed), question, picture))
            if len(asked) == self.limit:
                return asked
        raise AssertionError("there is always another scene")


@functools.lru_cache(maxsize=4)
def _scene_image(seed: int, split: str, size: int) -> Image.Image:
    return make_scene(seed, split, size).image


def _from_file(file: Path) -> list[Asked]:
    check_input(file, "question", InvalidValueError)
    asked = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if line.strip():
            asked.append(_from_line(file, number, line))
    if not asked:
        raise InvalidValueError(f"{file} holds no question; write one JSON object on each line.")
    return asked


def _from_line(file: Path, number: int, line: str) -> Asked:
    hint = 'write {"image": "a.png", "question": "…", "answer": "…", "task": "…"} on each line.'
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or any(not isinstance(values.get(name, ""), str) for name in _FIELDS):
        raise InvalidValueError(f"Line {number} of {file} is no JSON object of texts; {hint}")
    missing = [name for name in ("image", "question") if not values.get(name, "").strip()]
    if missing:
        raise InvalidValueError(f"Line {number} of {file} has no {missing[0]}; {hint}")
    path = file.parent / values["image"]
    open_image(path)
    question = Question(values.get("task") or "question", values["question"], values.get("answer", ""))
    return Asked(values["image"], question, functools.partial(open_image, path))
