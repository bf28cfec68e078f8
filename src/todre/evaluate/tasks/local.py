"""A task of one's own: a file of JSON lines beside its pictures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.evaluate.metrics import check_metric
from todre.evaluate.tasks.base import Item
from todre.files import Kind, printable, read_lines
from todre.files.shapes import POSITIVE, TEXT, Shape
from todre.images import open_image

_HINT = '{"image": "a.png", "question": "…", "answers": ["…"], "metric": "exact"}'
_LINE: Shape = {
    "image?": (TEXT, [TEXT]),
    "question?": TEXT,
    "answers?": (TEXT, [TEXT]),
    "metric?": TEXT,
    "id?": TEXT,
    "kind?": TEXT,
    "pair?": TEXT,
    "new_tokens?": POSITIVE,
}
QUESTIONS = Kind(f"write {_HINT} on each line", _LINE, most=2**28, line=2**20)
"""A task of one's own, up to a million questions."""


@dataclass(frozen=True)
class LocalTask:
    """Questions of a file, all with one metric.

    Each line is an object with `image` (a path relative to the file, or a list of several), `question`, `answers` (a
    text or a list of them) and, if they are wanted, `metric` (exact without it), `id` (the line's number without it),
    `kind` (POPE's strategy, MME's category), `pair` (MME) and `new_tokens` (16 without it).

    Args:
        file: JSON lines.
    """

    file: Path

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file.stem

    @property
    def metric(self) -> str:
        """That of the first line."""
        return self.items(1, 0)[0].metric

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first lines; a generated task's seed changes nothing here.

        Raises:
            InvalidValueError: the file or one of its lines cannot be used; says which, and what is wrong.
            ImageError: a picture is not there, or is none.
        """
        found: list[Item] = []
        seen: dict[str, int] = {}
        for number, values in read_lines(self.file, QUESTIONS):
            if limit is not None and len(found) == limit:
                break
            item = self._item(number, values)
            if item.id in seen:
                raise self._wrong(
                    number, f"has the id {printable(repr(item.id))} of line {seen[item.id]}; give each its own"
                )
            if found and item.metric != found[0].metric:
                raise self._wrong(
                    number,
                    f"has the metric {printable(repr(item.metric))} after {found[0].metric!r}; "
                    "put each into its own file",
                )
            seen[item.id] = number
            found.append(item)
        if not found:
            raise QUESTIONS.wrong(self.file, "holds no question")
        return tuple(found)

    def files(self, limit: int | None) -> Iterator[Path]:
        """The file, and the pictures that its first lines name."""
        yield self.file
        for _, values in itertools.islice(read_lines(self.file, QUESTIONS), limit):
            given = values.get("image", [])
            yield from (self.file.parent / name for name in ([given] if isinstance(given, str) else given))

    def _item(self, number: int, values: dict[str, Any]) -> Item:
        if not values.get("question", "").strip():
            raise self._wrong(number, f"has no question; write {_HINT} on each line")
        images, answers = (self._texts(number, values, name) for name in ("image", "answers"))
        metric, kind = values.get("metric", "exact"), values.get("kind", "")
        try:
            check_metric(metric)
        except InvalidValueError as error:
            raise self._wrong(number, f"cannot be scored: {printable(str(error).rstrip('.'), 300)}") from error
        if metric in ("pope", "mme") and answers[0].strip().lower() not in ("yes", "no"):
            raise self._wrong(number, f"has the answer {printable(repr(answers[0]))}, and {metric} takes yes or no")
        if metric == "mme" and not values.get("pair"):
            raise self._wrong(number, 'has no "pair", which mme needs: the same text on the two questions of a pair')
        new_tokens = values.get("new_tokens", 16)
        paths = [self.file.parent / image for image in images]
        for path in paths:
            open_image(path)
        return Item(
            task=self.name,
            id=values.get("id") or str(number),
            picture=" ".join(images),
            media=tuple(functools.partial(open_image, path) for path in paths),
            question=values["question"],
            references=tuple(answers),
            metric=metric,
            kind=kind or {"pope": "random", "mme": "all"}.get(metric, ""),
            pair=values.get("pair", ""),
            new_tokens=new_tokens,
        )

    def _texts(self, number: int, values: dict[str, Any], name: str) -> list[str]:
        """A text or a list of texts, none of them empty."""
        given = values.get(name)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise self._wrong(number, f"has no {name}; write {_HINT} on each line")
        return texts

    def _wrong(self, number: int, what: str) -> InvalidValueError:
        return InvalidValueError(f"Line {number} of {printable(self.file)} {what}.")
