"""Methods by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from todre.errors import InvalidValueError, UnknownMethodError
from todre.methods.base import Method, NoPruning
from todre.methods.cls_top_k import CLSTopK
from todre.methods.random import RandomTokens
from todre.methods.todre import ToDRE


@dataclass(frozen=True)
class Entry:
    """A registered method: how to make it, and what to say of it."""

    name: str
    create: Callable[..., Method]
    cls: type[Method]
    summary: str
    paper: str


def _entry(cls: type[Method]) -> Entry:
    return Entry(cls.name, cls, cls, cls.summary, cls.paper)


_ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _entry(NoPruning),
        _entry(ToDRE),
        Entry(
            "todre-v1",
            ToDRE.v1,
            ToDRE,
            "diverse tokens by greedy k-center, dropped at one of four layers (v1)",
            "arXiv 2505.18757v1",
        ),
        _entry(RandomTokens),
        _entry(CLSTopK),
    )
}


def names() -> list[str]:
    """All method names, in the order to list them."""
    return list(_ENTRIES)


def entry(name: str) -> Entry:
    """What is registered under `name`.

    Raises:
        UnknownMethodError: nothing is; says what was probably meant.
    """
    if name in _ENTRIES:
        return _ENTRIES[name]
    close = difflib.get_close_matches(name.lower().replace("_", "-"), _ENTRIES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UnknownMethodError(f"There is no method {name!r}; {hint}the methods are {', '.join(_ENTRIES)}.")


def create(name: str, **values: Any) -> Method:
    """The method `name` with the given fields; fields it does not have are an error."""
    found = entry(name)
    known = {field.name for field in fields(found.cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidValueError(
            f"Method {name!r} has no setting {unknown[0]!r}; its settings are {', '.join(sorted(known))}."
        )
    return found.create(**values)
