"""A task of one's own: a file of JSON lines beside its pictures."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.evaluate.metrics import check_metric
from todre.evaluate.tasks.base import Item
from todre.files import check_input
from todre.images import open_image

_HINT = '{"image": "a.png", "question": "…", "answers": ["…"], "metric": "exact"}'
_TEXTS = ("question", "metric", "id", "kind", "pair")


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
        check_input(self.file, "question", InvalidValueError)
        found: list[Item] = []
        seen: dict[str, int] = {}
        for number, line in enumerate(self._lines(), start=1):
            if line.strip() and (limit is None or len(found) < limit):
                item = self._item(number, line)
                if item.id in seen:
                    raise self._wrong(number, f"has the id {item.id!r} of line {seen[item.id]}; give each its own")
                if found and item.metric != found[0].metric:
                    raise self._wrong(
                        number, f"has the metric {item.metric!r} after {found[0].metric!r}; put each into its own file"
                    )
                seen[item.id] = number
                found.append(item)
        if not found:
            raise InvalidValueError(f"{self.file} holds no question; write {_HINT} on each line.")
        return tuple(found)

    def _lines(self) -> list[str]:
        try:
            return self.file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InvalidValueError(f"{self.file} is no UTF-8 text; save it as JSON lines in UTF-8.") from error

    def _item(self, number: int, line: str) -> Item:
        values = self._values(number, line)
        images, answers = (self._texts(number, values, name) for name in ("image", "answers"))
        metric, kind = values.get("metric", "exact"), values.get("kind", "")
        try:
            check_metric(metric)
        except InvalidValueError as error:
            raise self._wrong(number, f"cannot be scored: {str(error).rstrip('.')}") from error
        if metric in ("pope", "mme") and answers[0].strip().lower() not in ("yes", "no"):
            raise self._wrong(number, f"has the answer {answers[0]!r}, and {metric} takes yes or no")
        if metric == "mme" and not values.get("pair"):
            raise self._wrong(number, 'has no "pair", which mme needs: the same text on the two questions of a pair')
        new_tokens = values.get("new_tokens", 16)
        if isinstance(new_tokens, bool) or not isinstance(new_tokens, int) or new_tokens < 1:
            raise self._wrong(number, f"has new_tokens {new_tokens!r}, and needs a whole number of at least 1")
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

    def _values(self, number: int, line: str) -> dict[str, Any]:
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise self._wrong(number, f"is no JSON object; write {_HINT} on each line")
        for name in _TEXTS:
            if not isinstance(values.get(name, ""), str):
                raise self._wrong(number, f"has {name} {values[name]!r}, and needs a text there")
        if not values.get("question", "").strip():
            raise self._wrong(number, f"has no question; write {_HINT} on each line")
        return values

    def _texts(self, number: int, values: dict[str, Any], name: str) -> list[str]:
        """A text or a list of texts, none of them empty."""
        given = values.get(name)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise self._wrong(number, f"has no {name}; write {_HINT} on each line")
        return texts

    def _wrong(self, number: int, what: str) -> InvalidValueError:
        return InvalidValueError(f"Line {number} of {self.file} {what}.")
