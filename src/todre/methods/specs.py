"""Methods with settings in one text, such as `vtw:layer=8`, or in a file."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.methods import registry
from todre.methods.base import Method


def method_of(text: str) -> Method:
    """The method of a specification, or of a JSON file.

    Args:
        text: as `parse` takes it, or a file's name that ends in `.json`.

    Raises:
        InvalidValueError: a setting or the file cannot be used.
        UnknownMethodError: there is no such method.
    """
    if text.endswith(".json"):
        return registry.load(Path(text))
    name, settings = parse(text)
    return registry.create(name, **settings)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a method, from `NAME` or `NAME:FIELD=VALUE:FIELD=VALUE`.

    Values are JSON or plain text.

    Raises:
        InvalidValueError: a part is no setting, or the method has no setting of that name.
        UnknownMethodError: no such method.
    """
    name, *parts = text.split(":")
    known = registry.entry(name)
    settings: dict[str, Any] = {}
    for part in parts:
        field, equals, value = part.partition("=")
        if not equals or field not in known.settings:
            raise InvalidValueError(
                f"{part!r} is no setting of {name}; write FIELD=VALUE, with one of {', '.join(known.settings)}."
            )
        settings[field] = _value(known.cls, field, value)
    return name, settings


def _value(cls: type[Method], field: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    default = next((each.default for each in fields(cls) if each.name == field), MISSING)
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(default, tuple) else value
