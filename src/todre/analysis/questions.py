"""Questions of the instruments: on rendered scenes, or from a file of questions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from todre.evaluate.metrics import mark
from todre.evaluate.tasks.local import metric_of
from todre.fields import Checked, Items, OneOf
from todre.fields.kinds import Count
from todre.files import printable, sha256
from todre.files.question_file import QUESTIONS, QuestionLine, named_files, read_questions
from todre.inputs import Reading, open_picture
from todre.scenes import SPLITS, TASKS, Question, make_scene, score
from todre.scenes.scoring import can_score


@dataclass(frozen=True)
class PictureQuestion:
    """A question and its picture.

    Attributes:
        picture: name of the picture; questions about one picture are not independent.
        question: text, true answer and task.
        open: loads the picture, RGB.
        references: all true answers of a file's line; empty for scenes.
        metric: the metric that a file's line names; empty for scenes and for lines without a metric.
        line: the file's line; None for scenes.
    """

    picture: str
    question: Question
    open: Callable[[], Image.Image]
    references: tuple[str, ...] = ()
    metric: str = ""
    line: QuestionLine | None = None

    def facts(self) -> dict[str, Any]:
        """Facts on the question for a result, ready for JSON."""
        return {
            "picture": self.picture,
            "task": self.question.task,
            "question": self.question.text,
            "answer": self.question.answer,
        }

    def mark(self, text: str) -> float:
        """Mark of an answer, from 0 to 1.

        A file's line with a metric is marked by that metric, and a line with several answers and no metric by exact
        match with any of the answers. All other questions are marked like questions on scenes: by exact match, and
        captions by F1.
        """
        if self._has_metric:
            return mark(self.metric or "exact", text, self.references)
        return score(self.question, text)

    def check_marked(self) -> None:
        """Raise `InvalidValueError` if answers could not be told apart by their marks."""
        if self.line is None:
            return
        if not self.question.answer.strip():
            raise self.line.lacking("answers")
        if not self._has_metric and not can_score(self.question):
            raise self.line.wrong(
                f"has the task {self.question.task!r} and the answer {printable(repr(self.question.answer))}, which "
                'names no colour with a shape to mark by; add "metric": "exact", or give an answer such as "red circle"'
            )

    @property
    def _has_metric(self) -> bool:
        return bool(self.references) and (bool(self.metric) or len(self.references) > 1)


def check_marked(questions: Sequence[PictureQuestion]) -> None:
    """Check that answers to all questions can be marked.

    Raises:
        InvalidValueError: a line of a file has no true answer, or one that nothing can be marked by; says which.
    """
    for question in questions:
        question.check_marked()


@dataclass(frozen=True)
class Source(Checked):
    """Source of an instrument's questions.

    Args:
        file: a file of questions (`todre.files.question_file`), with one image each; answers and task are optional.
            None for the scenes.
        limit: number of questions.
        split: split of the scenes.
        size: side of the scenes' square pictures in pixels.
        tasks: tasks of the scenes; they take turns from scene to scene, so that each task has nearly as many questions.
    """

    file: Path | None = None
    limit: Count = 60
    split: Annotated[str, OneOf(SPLITS)] = "test"
    size: Count = 192
    tasks: Annotated[tuple[Annotated[str, OneOf(TASKS)], ...], Items(least=1)] = TASKS

    def questions(self) -> list[PictureQuestion]:
        """The questions, in order.

        Raises:
            InvalidValueError: the file has a line that cannot be used; says which.
            ImageError: the file names a picture that does not exist.
        """
        return self._from_scenes() if self.file is None else _from_file(self.file, self.limit)

    def files(self) -> Iterator[Path]:
        """The file, and the pictures that its first lines name; nothing for scenes."""
        return iter(()) if self.file is None else named_files(self.file, self.limit)

    def facts(self, questions: Sequence[PictureQuestion]) -> dict[str, Any]:
        """Facts on the source for a result, ready for JSON."""
        counts = {"questions": len(questions), "pictures": len({one.picture for one in questions})}
        if self.file is not None:
            return {"file": self.file.name, "sha256": sha256(self.file, QUESTIONS), **counts}
        return {"split": self.split, "picture_size": self.size, "tasks": list(self.tasks), **counts}

    def _from_scenes(self) -> list[PictureQuestion]:
        """One question about each scene, so that no two share a picture.

        Scenes without a question of the task are skipped.
        """
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
    questions = [_from_line(line) for line in read_questions(file, limit)]
    if not questions:
        raise QUESTIONS.wrong(file, "holds no question")
    return questions


def _from_line(line: QuestionLine) -> PictureQuestion:
    if len(line.images) > 1:
        raise line.wrong(f"names {len(line.images)} images, and analyze and fit ask about one; give each line one")
    metric = metric_of(line) if line.metric else ""
    opening = functools.partial(open_picture, line.images[0], Reading(folder=line.file.parent))
    opening()
    question = Question(line.task or "question", line.question, line.answer)
    return PictureQuestion(line.labels[0], question, opening, references=line.answers, metric=metric, line=line)
