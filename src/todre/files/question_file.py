"""Files of questions (JSON Lines) for `eval`, `analyze` and `fit`.

`docs/evaluation.md` describes the format. Each command refuses a line that lacks what it needs. Fields that only other
commands use are checked for their type and otherwise left alone.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import TodreError
from todre.files.kind import Kind
from todre.files.locations import label_of, local_file
from todre.files.names import printable
from todre.files.readers import read_lines
from todre.files.shapes import POSITIVE, TEXT, WHOLE, Shape

_TEXTS = (TEXT, [TEXT])
_LINE: Shape = {
    "image?": _TEXTS,
    "question?": TEXT,
    "answers?": _TEXTS,
    "answer?": _TEXTS,
    "task?": TEXT,
    "metric?": TEXT,
    "id?": (TEXT, WHOLE),
    "kind?": TEXT,
    "pair?": TEXT,
    "new_tokens?": POSITIVE,
}
QUESTIONS = Kind(
    'write {"image": "a.png", "question": "…", "answers": ["…"]} on each line', _LINE, most=2**28, line=2**20
)
"""Kind of a file of questions, with up to a million of them."""


@dataclass(frozen=True, kw_only=True)
class QuestionLine:
    """One question of a file, as its line states it.

    Attributes:
        file: the file.
        number: number of the line, from 1.
        images: paths relative to the file, `file://` or `data:` URLs; at least one, none empty.
        question: plain text, not blank.
        answers: the reference answers; for VQA accuracy, one from each annotator. Empty where the line has none.
        answer: the one true answer: the line's `answer`, or the most frequent of `answers`; empty where there is none.
        task: kind of question, by which `todre analyze` groups; empty where the line has none.
        metric: name of a metric; empty where the line has none.
        id: unique within the file; the line's number where the line has none.
        kind: POPE's strategy or MME's category, or empty.
        pair: names the two questions that MME scores together, or empty.
        new_tokens: most tokens of an answer, or None.
    """

    file: Path
    number: int
    images: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    answer: str
    task: str
    metric: str
    id: str
    kind: str
    pair: str
    new_tokens: int | None

    @property
    def labels(self) -> tuple[str, ...]:
        """What results call the pictures: their names, of a `data:` URL a digest."""
        return tuple(map(label_of, self.images))

    def wrong(self, what: str) -> TodreError:
        """The error to raise if this line cannot be used.

        Args:
            what: what is wrong; the end of a sentence that begins with the line's place.
        """
        return QUESTIONS.error(f"Line {self.number} of {printable(self.file)} {what}.")

    def lacking(self, what: str) -> TodreError:
        """The error to raise if this line lacks something; shows the form of a line."""
        return _lacking(self.file, self.number, what)


def read_questions(file: Path, limit: int | None = None) -> Iterator[QuestionLine]:
    """The questions of a file, in order.

    Args:
        file: JSON Lines; blank lines are skipped.
        limit: most questions to read; None reads all.

    Raises:
        InvalidValueError: the file, or a line, cannot be read, a line has no image or no question, or its `answer` is
            none of its `answers`.
    """
    for number, values in itertools.islice(read_lines(file, QUESTIONS), limit):
        yield _question(file, number, values)


def named_files(file: Path, limit: int | None = None) -> Iterator[Path]:
    """The file, and the pictures that its first lines name.

    These files are inputs, which no output may overwrite. It is not known yet whether they can be used, so a
    line that is no valid question counts too.

    Raises:
        InvalidValueError: the file, or a line, cannot be read.
    """
    yield file
    for _, values in itertools.islice(read_lines(file, QUESTIONS), limit):
        named = (local_file(image, file.parent) for image in _texts(values.get("image")) if image.strip())
        yield from (path for path in named if path is not None)


def _question(file: Path, number: int, values: dict[str, Any]) -> QuestionLine:
    images, question = _texts(values.get("image")), values.get("question", "")
    for name, missing in (("image", not images or not all(map(str.strip, images))), ("question", not question.strip())):
        if missing:
            raise _lacking(file, number, name)
    answers, single = _texts(values.get("answers")), _texts(values.get("answer"))
    known = {_folded(each) for each in answers}
    strange = [each for each in single if answers and _folded(each) not in known]
    if strange:  # `eval` goes by one of the fields and `analyze` by the other
        raise QUESTIONS.error(
            f"Line {number} of {printable(file)} has the answer {printable(repr(strange[0]))}, which is not among its "
            "answers; add it there, or write one of the two fields."
        )
    return QuestionLine(
        file=file,
        number=number,
        images=images,
        question=question,
        answers=answers or single,
        answer=_most_frequent(single or answers),
        task=values.get("task", ""),
        metric=values.get("metric", ""),
        id=str(values.get("id", "")) or str(number),
        kind=values.get("kind", ""),
        pair=values.get("pair", ""),
        new_tokens=values.get("new_tokens"),
    )


def _lacking(file: Path, number: int, what: str) -> TodreError:
    return QUESTIONS.wrong(f"Line {number} of {printable(file)}", f"has no {what}")


def _texts(value: str | list[str] | None) -> tuple[str, ...]:
    """A text, or a list of texts, as a tuple; None becomes the empty tuple."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _folded(answer: str) -> str:
    return answer.strip().casefold()


def _most_frequent(answers: tuple[str, ...]) -> str:
    """The most frequent answer, the first of equals; empty if there is no answer."""
    return Counter(answers).most_common(1)[0][0] if answers else ""
