"""Fitting of a value to an annotation: the value is made plain, or refused."""

from __future__ import annotations

import math
import numbers
import types
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, get_args, get_origin

from todre.errors import InvalidValueError
from todre.fields.marks import Items
from todre.fields.words import UNIONS, allowed, short_repr

_TOP = 2**63
"""Bound of the size of whole numbers.

Generators, indices and other programs' JSON take no larger whole numbers.
"""
_NO = object()


def fitted(name: str, value: Any, kind: Any) -> Any:
    """A value in the form that a field annotated with `kind` holds.

    Messages call the value `name`.

    Raises:
        InvalidValueError: the annotation does not allow the value.
    """
    try:
        return _fit(name, value, kind)
    except _Misfit as misfit:
        raise InvalidValueError(f"{misfit.name} must be {misfit.allowed}, not {short_repr(misfit.value)}.") from None


class _Misfit(Exception):
    """A value, or an item of a value, does not fit; `name` says which."""

    def __init__(self, name: str, value: Any, kind: Any) -> None:
        self.name, self.value, self.allowed = name, value, allowed(kind)


def _fit(name: str, value: Any, kind: Any) -> Any:
    origin = get_origin(kind)
    if origin is Annotated:
        return _marked(name, value, kind)
    if origin in UNIONS:
        return _one_of_several(name, value, kind)
    if origin is tuple:
        return _tuple(name, value, kind)
    if origin is Literal:
        found = _same(value, get_args(kind))
    elif kind in _PLAIN:
        found = _PLAIN[kind](_plain(value))
    else:
        found = _instance(value, origin or kind)
    if found is _NO:
        raise _Misfit(name, value, kind)
    return found


def _marked(name: str, value: Any, kind: Any) -> Any:
    inner, *marks = get_args(kind)
    if any(isinstance(mark, Items) and mark.lone for mark in marks) and isinstance(_plain(value), numbers.Real):
        value = (value,)
    try:
        found = _fit(name, value, inner)
    except _Misfit as misfit:
        raise misfit if misfit.name != name else _Misfit(name, value, kind) from None
    if not all(mark.holds(found) for mark in marks if hasattr(mark, "holds")):
        raise _Misfit(name, value, kind)
    return found


def _one_of_several(name: str, value: Any, kind: Any) -> Any:
    """The value, fitted to the first part of a union that allows it.

    If no part fits, the error names the item at fault, where it is not the whole value.
    """
    inner = None
    for each in get_args(kind):
        try:
            return _fit(name, value, each)
        except _Misfit as misfit:
            inner = misfit if misfit.name != name else inner
    raise inner or _Misfit(name, value, kind)


def _tuple(name: str, value: Any, kind: Any) -> tuple[Any, ...]:
    items, kinds = _plain(value), get_args(kind)
    if isinstance(items, list | tuple) and kinds[1:] == (Ellipsis,):
        kinds = kinds[:1] * len(items)
    if not isinstance(items, list | tuple) or len(items) != len(kinds):
        raise _Misfit(name, value, kind)
    pairs = enumerate(zip(items, kinds, strict=True))
    return tuple([_fit(f"{name}[{place}]", item, each) for place, (item, each) in pairs])


def _instance(value: Any, cls: Any) -> Any:
    if cls is Any or not isinstance(cls, type) or getattr(cls, "_is_protocol", False):
        return value
    if issubclass(cls, PurePath) and isinstance(value, str):
        return cls(value)
    if issubclass(cls, Enum) and not isinstance(value, cls):
        found = _same(value, tuple(each.value for each in cls))
        return found if found is _NO else cls(found)
    if isinstance(value, cls):
        return value
    made = cls.of_plain(value) if hasattr(cls, "of_plain") else None
    return _NO if made is None else made


def _same(value: Any, choices: tuple[Any, ...]) -> Any:
    plain = _plain(value)
    return next((each for each in choices if _PLAIN[type(each)](plain) == each), _NO)


def _plain(value: Any) -> Any:
    """Arrays, tensors and their scalars as numbers and lists; other values unchanged."""
    try:
        return value.tolist() if isinstance(getattr(value, "shape", None), tuple) else value
    except Exception:  # it holds no numbers that can be read, as a tensor on the meta device
        return value


def _as_bool(value: Any) -> Any:
    return value if isinstance(value, bool) else _NO


def _as_int(value: Any) -> Any:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if whole and -_TOP < value < _TOP else _NO


def _as_float(value: Any) -> Any:
    if isinstance(value, numbers.Integral) or not isinstance(value, numbers.Real):
        return _as_int(value)
    try:
        return float(value) if math.isfinite(value) else _NO
    except OverflowError:
        return _NO


def _as_text(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else _NO


def _as_none(value: Any) -> Any:
    return None if value is None else _NO


_PLAIN = {bool: _as_bool, int: _as_int, float: _as_float, str: _as_text, types.NoneType: _as_none}
