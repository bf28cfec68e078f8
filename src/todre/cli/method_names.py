"""Methods as the command line names them: names, JSON files, and `all`."""

from __future__ import annotations

from typing import Any

import typer

from todre.cli.parsers import usage
from todre.methods import registry
from todre.methods.base import Method

ALL = "all"
"""Stands for every registered method."""
FILE = ".json"
"""The end of the name of a file that holds a method."""


def parse_name(name: str) -> str:
    """The name of a registered method."""
    with usage():
        return registry.entry(name).name


def parse_method(name: str) -> str:
    """The name of a registered method, or of a file that holds one."""
    if not name.endswith(FILE):
        return parse_name(name)
    with usage():
        registry.load(name)
    return name


def parse_methods(text: str) -> str:
    """Names of registered methods or of files, separated by commas, or `all`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("no method is named; give names separated by commas, such as none,todre.")
    names = [name if name == ALL else parse_method(name) for name in names]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} names a method twice; name each once.")
    return ",".join(names)


def named_methods(methods: str) -> tuple[list[str], bool]:
    """Names of a list, with every registered one for `all`; whether it has `all`.

    Each name comes once.
    """
    names = methods.split(",")
    every = [name for each in names for name in (registry.names() if each == ALL else (each,))]
    return list(dict.fromkeys(every)), ALL in names


def make_method(name: str, retain: float | None, seed: int, per: str | None = None) -> Method:
    """A method with those of the settings that it has; one from a file stays as it is."""
    if name.endswith(FILE):
        return registry.load(name)
    known = registry.entry(name).settings
    settings: dict[str, Any] = {"seed": seed, "per": per or "sample"} | ({} if retain is None else {"retain": retain})
    return registry.create(name, **{key: value for key, value in settings.items() if key in known})


def files_among(methods: str) -> tuple[str, ...]:
    """The files among names separated by commas: inputs of the command."""
    return tuple(name for name in methods.split(",") if name.endswith(FILE))
