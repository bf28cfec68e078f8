"""Methods by name, from this package and from packages that register their own.

Every module of `todre.methods` is searched for classes derived from `Method` that have a name of their own, and for
presets in `PRESETS`. Another package registers a class under the entry point group `todre.methods`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from todre.errors import InvalidValueError, UnknownMethodError
from todre.files import Kind, printable, read_json, write_atomic
from todre.files.shapes import TEXT
from todre.methods.base import Method
from todre.methods.card import ACTS, Card
from todre.methods.shared.names import check_names, suggestion

GROUP = "todre.methods"
FILE = Kind("give a file that `todre fit` or `registry.save` wrote", {"method": TEXT}, most=2**20)
"""Description of a method file, for messages; fitted methods take some kilobytes."""
_FIRST = ("none", "todre", "todre-v1", "random")


@dataclass(frozen=True)
class Entry:
    """A registered method.

    Attributes:
        name: the name to create the method by.
        create: makes the method.
        cls: class of the method that `create` makes.
        settings: names of the arguments of `create`.
        summary, paper, card: see `Method`.
    """

    name: str
    create: Callable[..., Method]
    cls: type[Method]
    settings: tuple[str, ...]
    summary: str
    paper: str
    card: Card


def names() -> list[str]:
    """Names of all methods that can be made by name alone, in the order to list them."""
    return [each.name for each in _entries().values() if not (each.cls.needs_methods and each.create is each.cls)]


def classes() -> dict[str, type[Method]]:
    """Classes of all methods, by their Python names."""
    return {each.cls.__name__: each.cls for each in _entries().values()}


def entry(name: str) -> Entry:
    """The entry registered under `name`.

    Raises:
        UnknownMethodError: no method has this name; the message suggests a similar name.
    """
    found = _entries()
    if isinstance(name, str) and name in found:
        return found[name]
    hint = suggestion(name, found) if isinstance(name, str) else "a method is named by text, such as 'todre'; "
    raise UnknownMethodError(
        f"There is no method {printable(repr(name))}; {hint}`todre methods` lists all {len(found)}."
    )


def create(name: str, **values: Any) -> Method:
    """Create the method `name` with the given settings.

    Raises:
        UnknownMethodError: there is no such method.
        InvalidValueError: a setting is unknown, or has a value that cannot be used.
    """
    found = entry(name)
    check_names(f"Method {name!r}", "setting", list(values), found.settings)
    return found.create(**values)


def create_with(name: str, **offered: Any) -> Method:
    """Create the method `name` with those of the offered settings that it has.

    Raises:
        UnknownMethodError: there is no such method.
        InvalidValueError: a setting has a value that cannot be used.
    """
    found = entry(name)
    return found.create(**{field: value for field, value in offered.items() if field in found.settings})


def from_dict(values: Any) -> Method:
    """The method that `to_dict` described.

    Raises:
        InvalidValueError: `values` describes no method.
        UnknownMethodError: the description names an unknown method.
    """
    name = values.get("method") if isinstance(values, dict) else None
    if not isinstance(name, str):
        raise InvalidValueError(
            f"A method is described by a mapping with its name under 'method', not {printable(repr(values))}."
        )
    found = entry(name)
    if name == found.cls.name:
        return found.cls.from_dict(values)
    return create(name, **{field: value for field, value in values.items() if field != "method"})


def save(method: Method, path: str | Path) -> None:
    """Write `method` to a JSON file that `load` reads."""
    write_atomic(Path(path), json.dumps(method.to_dict(), indent=2) + "\n")


def load(path: str | Path) -> Method:
    """Read a method from a JSON file.

    Raises:
        InvalidValueError: there is no such file, or it describes no method.
        UnknownMethodError: the description names an unknown method.
    """
    file = Path(path)
    values = read_json(file, FILE)
    try:
        return from_dict(values)
    except (InvalidValueError, UnknownMethodError) as error:
        raise type(error)(
            f"{printable(file)} describes no method that can be made: {printable(str(error), 300)}"
        ) from error


@functools.cache
def _entries() -> dict[str, Entry]:
    found = {}
    for module in _modules():
        for each in _of(module):
            found[each.name] = each
    for point in entry_points(group=GROUP):
        each = _brought_in(point)
        if each.name in found:
            raise InvalidValueError(
                f"The entry point {point.value!r} brings in a method {each.name!r}, which exists; rename it."
            )
        found[each.name] = each
    return {each.name: each for each in sorted(found.values(), key=_place)}


def _modules() -> Iterator[ModuleType]:
    """Modules beside this one.

    The modules are found as files, so that this module imports no method and a method may import this module.
    """
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name != "registry":
            yield importlib.import_module(f"{__package__}.{info.name}")


def _of(module: ModuleType) -> Iterator[Entry]:
    """Entries of the methods that a module defines, and of its presets."""
    for cls in vars(module).values():
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and _is_method(cls):
            yield _entry(cls)
    for preset in getattr(module, "PRESETS", ()):
        card = preset.card or preset.cls.card
        settings = _settings(preset.cls, card) if preset.settings is None else preset.settings
        yield Entry(preset.name, preset.create, preset.cls, settings, preset.summary, preset.paper, card)


def _entry(cls: type[Method]) -> Entry:
    return Entry(cls.name, cls, cls, _settings(cls, cls.card), cls.summary, cls.paper, cls.card)


def _settings(cls: type[Method], card: Card) -> tuple[str, ...]:
    """Names of a method's fields, `per` only where it divides a budget."""
    divides = bool({"select", "pixels"} & set(card.acts))
    return tuple(field.name for field in fields(cls) if divides or field.name != "per")


def _is_method(cls: type) -> TypeGuard[type[Method]]:
    return issubclass(cls, Method) and cls is not Method and "name" in vars(cls)


def _brought_in(point: EntryPoint) -> Entry:
    try:
        cls = point.load()
    except Exception as error:
        raise InvalidValueError(
            f"The method at {point.value!r}, which another package brings in, cannot be loaded: {error}."
        ) from error
    if not (inspect.isclass(cls) and _is_method(cls)):
        raise InvalidValueError(
            f"The entry point {point.value!r} names {cls!r}, which is no class derived from Method with a name."
        )
    return _entry(cls)


def _place(each: Entry) -> tuple[int, int, str]:
    """Sort key of the listing: a few first, then by place of action, then by name."""
    first = _FIRST.index(each.name) if each.name in _FIRST else len(_FIRST)
    acts = [ACTS.index(act) for act in each.card.acts]
    return first, min(acts, default=len(ACTS)), each.name
