"""What instruments ask: questions of the scenes, or of a file of one's own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from todre.fields import Checked, Items, OneOf
from todre.fields.kinds import Count
from todre.files import Kind, read_lines, sha256, shown
from todre.files.shapes import TEXT
from todre.images import open_image
from todre.scenes import SPLITS, TASKS, Question, make_scene

QUESTIONS = Kind(
    'write {"image": "a.png", "question": "…", "answer": "…", "task": "…"} on each line',
    {"image?": TEXT, "question?": TEXT, "answer?": TEXT, "task?": TEXT},
    most=2**28,
    line=2**20,
)
"""Questions of one's own, up to a million."""


@dataclass(frozen=True)
class PictureQuestion:
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

    def questions(self) -> list[PictureQuestion]:
        """The questions, in order.

        Raises:
            InvalidValueError: the file has a line that is no question; says which.
            ImageError: it names a picture that is not there.
        """
        return self._from_scenes() if self.file is None else _from_file(self.file, self.limit)

    def files(self) -> Iterator[Path]:
        """The file, and the pictures that it names; nothing for scenes."""
        if self.file is not None:
            yield self.file
            for _, values in itertools.islice(read_lines(self.file, QUESTIONS), self.limit):
                yield self.file.parent / values.get("image", "")

    def facts(self, asked: Sequence[PictureQuestion]) -> dict[str, Any]:
        """What a result says about where its questions came from, ready for JSON."""
        counts = {"questions": len(asked), "pictures": len({one.picture for one in asked})}
        if self.file is not None:
            return {"file": self.file.name, "sha256": sha256(self.file, QUESTIONS), **counts}
        return {"split": self.split, "picture_size": self.size, "tasks": list(self.tasks), **counts}

    def _from_scenes(self) -> list[PictureQuestion]:
        """One question about each scene, so that no two share a picture; scenes without an answer are passed over."""
        questions: list[PictureQuestion] = []
        for seed in itertools.count():
            task = self.tasks[len(questions) % len(self.tasks)]
            fitting = [
                question for question in make_scene(seed, self.split, self.size).questions if question.task == task
            ]
            for question in fitting[:1]:
                picture = functools.partial(_scene_image, seed, self.split, self.size)
                questions.append(PictureQuestion(str(seed), question, picture))
            if len(questions) == self.limit:
                return questions
        raise AssertionError("there is always another scene")


@functools.lru_cache(maxsize=4)
def _scene_image(seed: int, split: str, size: int) -> Image.Image:
    return make_scene(seed, split, size).image


def _from_file(file: Path, limit: int) -> list[PictureQuestion]:
    lines = itertools.islice(read_lines(file, QUESTIONS), limit)
    questions = [_from_line(file, number, values) for number, values in lines]
    if not questions:
        raise QUESTIONS.wrong(file, "holds no question")
    return questions


def _from_line(file: Path, number: int, values: dict[str, Any]) -> PictureQuestion:
    missing = [name for name in ("image", "question") if not values.get(name, "").strip()]
    if missing:
        raise QUESTIONS.wrong(f"Line {number} of {shown(file)}", f"has no {missing[0]}")
    path = file.parent / values["image"]
    open_image(path)
    question = Question(values.get("task") or "question", values["question"], values.get("answer", ""))
    return PictureQuestion(values["image"], question, functools.partial(open_image, path))
