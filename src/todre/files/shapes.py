"""Shapes of JSON documents, declared beside the code that uses them.

A shape is one of the words below, `None`, a tuple of shapes (a value of any of them), a list with one shape (a list
whose items all have this shape), a longer list (a list with as many items, one for each shape), a dictionary (an object
with at least these entries; a name that ends in `?` may be absent), or `Each` (an object with any names).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from todre.files.names import printable

Shape = Any


@dataclass(frozen=True)
class Word:
    """A kind of plain value, and what messages call it."""

    name: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Each:
    """An object whose entries all have one shape."""

    shape: Shape


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TEXT = Word("a text", lambda value: isinstance(value, str))
FLAG = Word("true or false", lambda value: isinstance(value, bool))
NUMBER = Word("a number", _is_number)
WHOLE = Word("a whole number", lambda value: _is_number(value) and isinstance(value, int))
COUNT = Word("a whole number of at least 0", lambda value: WHOLE.holds(value) and value >= 0)
POSITIVE = Word("a whole number of at least 1", lambda value: WHOLE.holds(value) and value >= 1)
ANY = Word("a value", lambda value: True)
OBJECT = Each(ANY)


def misfit(value: Any, shape: Shape, at: str = "") -> str | None:
    """Text on the first part of a value that misfits a shape; None if all fits.

    The text is the end of a sentence about the file: `has rows[3].retain 'x', and needs …`.

    Args:
        value: the value that was read.
        shape: the shape that the value must have.
        at: where the value stands in the document.
    """
    if isinstance(shape, dict):
        return _misfit_of_object(value, shape, at)
    if isinstance(shape, list):
        fixed = len(shape) > 1
        if not isinstance(value, list) or (fixed and len(value) != len(shape)):
            return _wrong(value, shape, at)
        shapes = shape if fixed else shape * len(value)
        return _first(enumerate(value), shapes, lambda place: f"{at}[{place}]")
    if isinstance(shape, Each):
        if not isinstance(value, dict):
            return _wrong(value, shape, at)
        return _first(value.items(), [shape.shape] * len(value), lambda name: _inside(at, name))
    if isinstance(shape, tuple):
        return _misfit_of_all(value, shape, at)
    fits = value is None if shape is None else shape.holds(value)
    return None if fits else _wrong(value, shape, at)


def _first(entries: Iterable[tuple[Any, Any]], shapes: list[Shape], named: Callable[[Any], str]) -> str | None:
    """The first misfit of (key, value) entries.

    The text of a misfit's place is made only after the misfit is found, as there may be many entries.
    """
    for (key, value), shape in zip(entries, shapes, strict=True):
        if shape is not ANY and misfit(value, shape) is not None:
            return misfit(value, shape, named(key))
    return None


def _misfit_of_object(value: Any, shape: dict[str, Shape], at: str) -> str | None:
    if not isinstance(value, dict):
        return _wrong(value, shape, at)
    for name, inner in shape.items():
        bare = name.removesuffix("?")
        if bare not in value and bare == name:
            return f"has no {_inside(at, bare)}, and needs {_name(inner)} there"
        found = misfit(value[bare], inner, _inside(at, bare)) if bare in value else None
        if found:
            return found
    return None


def _misfit_of_all(value: Any, shapes: tuple[Shape, ...], at: str) -> str | None:
    """The misfit of a value that may have any of the shapes; None if a shape fits.

    The misfit is reported for the shape of the value's own kind (object or list), where there is such a shape.
    """
    found = [misfit(value, one, at) for one in shapes]
    if None in found:
        return None
    deep = next((place for place, one in enumerate(shapes) if _alike(value, one)), None)
    return _wrong(value, shapes, at) if deep is None else found[deep]


def _alike(value: Any, shape: Shape) -> bool:
    is_object, is_list = isinstance(shape, dict | Each), isinstance(shape, list)
    return (isinstance(value, dict) and is_object) or (isinstance(value, list) and is_list)


def _wrong(value: Any, shape: Shape, at: str) -> str:
    held = f"{at} {printable(repr(value), 60)}" if at else printable(repr(value), 60)
    return f"has {held}, and needs {_name(shape)} there"


def _inside(at: str, name: str) -> str:
    return f"{at}.{printable(name, 40)}" if at else printable(name, 40)


def _name(shape: Shape) -> str:
    if isinstance(shape, dict | Each):
        return "an object"
    if isinstance(shape, list):
        return "a list" if len(shape) == 1 else f"a list of {len(shape)}"
    if isinstance(shape, tuple):
        return " or ".join(_name(one) for one in shape)
    return "null" if shape is None else str(shape.name)
