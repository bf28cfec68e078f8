"""A task from a file of questions, JSON Lines beside their pictures."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from todre.errors import InvalidValueError
from todre.evaluate.metrics import check_metric
from todre.evaluate.tasks.base import Item
from todre.files import printable
from todre.files.question_file import QUESTIONS, QuestionLine, named_files, read_questions
from todre.inputs import Reading, open_picture

_NEW_TOKENS = 16
_KINDS = {"pope": "random", "mme": "all"}
"""Default kind by metric, for questions that name no kind."""


@dataclass(frozen=True)
class LocalTask:
    """The questions of a file (`todre.files.question_file`), all with one metric.

    Lines need `answers` or `answer`. Without `metric` they are marked by exact match, and without `new_tokens` an
    answer has at most 16 tokens.

    Args:
        file: JSON Lines.
    """

    file: Path

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file.stem

    @property
    def metric(self) -> str:
        """The metric of the first line."""
        return self.items(1, 0)[0].metric

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The questions of the first lines, whatever the seed.

        Raises:
            InvalidValueError: the file or one of its lines cannot be used; says which, and what is wrong.
            ImageError: a picture file does not exist, or is no picture.
        """
        items: list[Item] = []
        lines: dict[str, int] = {}
        for line in read_questions(self.file, limit):
            item = self._item(line)
            if item.id in lines:
                raise line.wrong(f"has the id {printable(repr(item.id))} of line {lines[item.id]}; give each its own")
            if items and item.metric != items[0].metric:
                raise line.wrong(
                    f"has the metric {printable(repr(item.metric))} after {items[0].metric!r}; "
                    "put each into its own file"
                )
            lines[item.id] = line.number
            items.append(item)
        if not items:
            raise QUESTIONS.wrong(self.file, "holds no question")
        return tuple(items)

    def files(self, limit: int | None) -> Iterator[Path]:
        """The file, and the pictures that its first lines name."""
        return named_files(self.file, limit)

    def _item(self, line: QuestionLine) -> Item:
        if not line.answers or not all(line.answers):
            raise line.lacking("answers")
        metric = metric_of(line)
        if metric in _KINDS and line.answers[0].strip().lower() not in ("yes", "no"):
            raise line.wrong(f"has the answer {printable(repr(line.answers[0]))}, and {metric} takes yes or no")
        if metric == "mme" and not line.pair:
            raise line.wrong('has no "pair", which mme needs: the same text on the two questions of a pair')
        reading = Reading(folder=line.file.parent)
        for image in line.images:
            open_picture(image, reading)
        return Item(
            task=self.name,
            id=line.id,
            picture=line.labels[0] if len(line.labels) == 1 else shlex.join(line.labels),
            media=tuple(functools.partial(open_picture, image, reading) for image in line.images),
            question=line.question,
            references=line.answers,
            metric=metric,
            kind=line.kind or _KINDS.get(metric, ""),
            pair=line.pair,
            new_tokens=line.new_tokens or _NEW_TOKENS,
        )


def metric_of(line: QuestionLine) -> str:
    """The metric that a line names; `exact` if it names none.

    Raises:
        InvalidValueError: there is no such metric.
    """
    try:
        return check_metric(line.metric or "exact")
    except InvalidValueError as error:
        raise line.wrong(f"cannot be scored: {printable(str(error).rstrip('.'), 300)}") from error
