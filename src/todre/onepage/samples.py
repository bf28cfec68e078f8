"""Questions on which methods disagree, with their pictures made again."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from todre.errors import TodreError
from todre.files import Kind, printable, read_lines
from todre.files.shapes import FLAG, NUMBER, POSITIVE, TEXT, Shape
from todre.onepage.pieces import Answers, Sample, Samples
from todre.reading.formats import number

ITEMS, SAMPLES = "items.jsonl", "samples.jsonl"
SIDE = 256
"""Longest side of an embedded picture, in pixels."""
MOST_PICTURES = 10
"""Most pictures of one question."""
MOST_BYTES = 2 * 2**20
"""Most bytes of all embedded pictures together."""
_HINT = "run the same `todre eval` again to write it anew, or leave the answers out with --samples 0"
_ITEM: Shape = {
    **dict.fromkeys(("task", "id", "picture", "question", "metric"), TEXT),
    "references": [TEXT], "new_tokens": POSITIVE, "video?": FLAG,
}  # fmt: skip
_ANSWER: Shape = {"condition": TEXT, "task": TEXT, "id": TEXT, "prediction": TEXT, "score": NUMBER}
_ITEM_FILE = Kind(_HINT, _ITEM, most=2**28)
_ANSWER_FILE = Kind(_HINT, _ANSWER, most=2**30)

Key = tuple[str, str]
"""Task and id of a question."""
Given = dict[tuple[str, float], list[str]]
"""Names of conditions by answer and mark."""


@dataclass(frozen=True)
class Made:
    """The samples of a page, and the files that they were made from."""

    samples: Samples
    files: tuple[Path, ...] = ()


def samples_of(file: Path, document: Mapping[str, Any], most: int) -> Made:
    """The questions whose answers differ most in mark, of each task in turn.

    Args:
        file: the result; the questions and answers lie beside it.
        document: what the file holds.
        most: most questions.

    Raises:
        InvalidValueError: a file beside the result is damaged, or of other questions.
    """
    questions, answers = file.with_name(ITEMS), file.with_name(SAMPLES)
    if not most:
        return Made(Samples(sentence="Questions and answers were left out with --samples 0."))
    if file.name != "result.json" or not (questions.is_file() and answers.is_file()):
        return Made(
            Samples(sentence=f"Questions and answers are not here: {ITEMS} and {SAMPLES} do not lie beside the result.")
        )
    asked = [values for _, values in read_lines(questions, _ITEM_FILE)]
    if _digest(asked) != document["conditions"]["questions"]:
        raise _ITEM_FILE.wrong(questions, "holds other questions than the result beside it")
    items: dict[Key, dict[str, Any]] = {(values["task"], values["id"]): values for values in asked}
    given = _given(answers, items)
    unlike = [key for key in items if len({mark for _, mark in given.get(key, {})}) > 1]
    chosen = list(itertools.islice(_in_turn(unlike, given), most))
    media, reason, files = _media(document["conditions"], asked)
    made = [_sample(items[key], given[key], media.get(key, ())) for key in chosen]
    fitting, left = _within(made)
    return Made(Samples(sentence=_sentence(len(made), len(unlike), reason, left), found=tuple(fitting)),
                (questions, answers, *files))  # fmt: skip


def _digest(facts: Sequence[dict[str, Any]]) -> str:
    """SHA-256 of questions as the conditions of a run have it."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _given(file: Path, items: Mapping[Key, Any]) -> dict[Key, Given]:
    """The answers to each question."""
    found: dict[Key, Given] = {}
    for line, values in read_lines(file, _ANSWER_FILE):
        key = values["task"], values["id"]
        if key not in items:
            raise _ANSWER_FILE.wrong(f"Line {line} of {printable(file)}", f"answers no question of {ITEMS}")
        answer = values["prediction"], float(values["score"])
        found.setdefault(key, {}).setdefault(answer, []).append(values["condition"])
    return found


def _in_turn(keys: Iterable[Key], given: Mapping[Key, Given]) -> Iterator[Key]:
    """The questions of each task in turn, those with evenly divided marks first."""

    def unevenness(key: Key) -> float:
        marks = [(mark, len(names)) for (_, mark), names in given[key].items()]
        return abs(sum(mark * count for mark, count in marks) / sum(count for _, count in marks) - 0.5)

    by_task: dict[str, list[Key]] = {}
    for key in keys:
        by_task.setdefault(key[0], []).append(key)
    columns = [sorted(mine, key=unevenness) for mine in by_task.values()]
    return (key for row in itertools.zip_longest(*columns) for key in row if key is not None)


def _media(
    conditions: Mapping[str, Any], asked: Sequence[dict[str, Any]]
) -> tuple[dict[Key, tuple[Any, ...]], str, tuple[Path, ...]]:
    """Functions that load each question's pictures, or a reason; files that are read.

    The reason says why there are none. The questions are made again from the conditions, and must be the very same.
    """
    from todre.evaluate.eval_config import EvalConfig

    tasks, limit = conditions.get("tasks"), conditions.get("limit")
    try:
        config = EvalConfig(
            tasks=tuple(tasks or ()),
            limit=min(limit, len(asked)) if isinstance(limit, int) else limit,
            seed=conditions.get("seed", 0),
            size=conditions.get("size", 192),
        )
        items = config.items()
        files = tuple(Path(path) for path in config.files() if path is not None)
    except (TodreError, TypeError) as error:
        return {}, str(error), ()
    if _digest([item.facts() for item in items]) != conditions["questions"]:
        return (
            {},
            "this release of todre, or the files that are here now, make other questions of the same names",
            files,
        )
    return {(item.task, item.id): item.media for item in items}, "", files


def _sample(item: Mapping[str, Any], given: Given, media: Sequence[Any]) -> Sample:
    pictures = []
    for load in media[:MOST_PICTURES]:
        try:
            pictures.append(_address(load()))
        except TodreError:  # its file has gone since the run
            pictures = []
            break
    answers = sorted(given.items(), key=lambda entry: (-entry[0][1], -len(entry[1])))
    return Sample(
        task=item["task"],
        id=item["id"],
        question=item["question"],
        references=tuple(item["references"]),
        pictures=tuple(pictures),
        video=item.get("video", False),
        answers=tuple(
            Answers(text=text, mark=number(mark), conditions=tuple(names)) for (text, mark), names in answers
        ),
    )


def _address(picture: Image.Image) -> str:
    """A picture inside the page, as a data address."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _within(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """The samples, and how many of the last have lost their pictures for want of room."""
    fitting: list[Sample] = []
    room, left = MOST_BYTES, 0
    for sample in samples:
        size = sum(map(len, sample.pictures))
        room -= size
        left += room < 0 < size
        fitting.append(sample if room >= 0 else replace(sample, pictures=()))
    return fitting, left


def _sentence(shown: int, unlike: int, reason: str, left: int) -> str:
    if not unlike:
        return "Every question got the same mark under every method and budget."
    text = f"{shown} of {unlike} questions whose answers are not all marked alike, of each task in turn."
    if reason:
        return f"{text} Their pictures cannot be made again: {reason.rstrip('.')}."
    if left:
        text += f" Pictures of {left} are left out, to keep the page small."
    return f"{text} Pictures are made again from the run's task and seed, or read from the files that the task names."
