"""Words of messages: what an annotation allows, and a value in short."""

from __future__ import annotations

import reprlib
import types
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

UNIONS = (Union, types.UnionType)
_NOUNS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", types.NoneType: "None"}


def allowed(kind: Any) -> str:
    """Words for the values that an annotation allows, to follow `must be`."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        words = allowed(parts[0])
        for mark in parts[1:]:
            words = mark.words(words) if hasattr(mark, "words") else words
        return words
    if origin in UNIONS:
        return " or ".join(dict.fromkeys(allowed(part) for part in parts))
    if origin is Literal:
        return _one_of(parts)
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return f"a list, each {allowed(parts[0])}"
    if origin is tuple:
        return f"a list of {len(parts)}: {', '.join(allowed(part) for part in parts)}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of(each.value for each in kind)
    return _NOUNS.get(kind) or f"a {getattr(origin or kind, '__name__', kind)}"


def short_repr(value: object) -> str:
    """The `repr` of a value on one line, cut where it is long."""
    return " ".join(_SHORT.repr(value).split())


class _Short(reprlib.Repr):
    """A `repr` that is cut where it is long.

    Python makes no text of whole numbers with thousands of digits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if abs(x) < 10**30 else f"a whole number of {x.bit_length()} bits"


_SHORT = _Short()


def _one_of(choices: Iterable[Any]) -> str:
    return f"one of {', '.join(map(str, choices))}"
