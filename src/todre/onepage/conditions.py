"""Conditions of a run as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BETWEEN = " · "


def conditions_of(*parts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(Name, text) of every value of the parts, in order.

    Values inside objects have all names of the way to them: `versions · torch`.
    """
    return tuple(line for part in parts for line in _lines("", part))


def compact(value: Any) -> str:
    """Text of any JSON value on one line."""
    return json.dumps(value, ensure_ascii=False)


def _lines(before: str, part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in part.items():
        whole = f"{before}{_BETWEEN}{_words(name)}" if before else _words(name)
        if isinstance(value, Mapping):
            yield from _lines(whole, value)
        else:
            yield whole, _text(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    """Text of a value: lists of plain values are joined, lists of objects stay JSON."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        plain = all(isinstance(one, str | int | float) for one in value)
        return (", ".join(map(str, value)) or "–") if plain else compact(value)
    return str(value)
