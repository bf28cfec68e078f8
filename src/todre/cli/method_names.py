"""Methods on the command line: registered names, JSON files, and `all`."""

from __future__ import annotations

from typing import Any

import typer

from todre.cli.parsers import usage
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method, check_prunes

ALL = "all"
"""The word that stands for every registered method."""
FILE = ".json"
"""Suffix of files that hold a method."""


def parse_name(name: str) -> str:
    """Parse the name of a registered method."""
    with usage():
        return registry.entry(name).name


def parse_method(name: str) -> str:
    """Parse the name of a registered method, or of a file that holds a method."""
    if not name.endswith(FILE):
        base, colon, settings = name.partition(":")
        if colon and base in registry.names():
            raise typer.BadParameter(
                f"settings ({settings!r}) are written behind a method's name in `todre bench` alone; "
                "give a JSON file, which `todre.methods.registry.save` writes."
            )
        return parse_name(name)
    with usage():
        registry.load(name)
    return name


def parse_methods(text: str) -> str:
    """Parse names of methods or of their files, separated by commas, or `all`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("no method is named; give names separated by commas, such as none,todre.")
    names = [name if name == ALL else parse_method(name) for name in names]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} names a method twice; name each once.")
    return ",".join(names)


def named_methods(methods: str) -> tuple[list[str], bool]:
    """Split a list of names; returns (names, whether `all` is among them).

    `all` becomes the names of all registered methods. Each name comes once.
    """
    names = methods.split(",")
    every = [name for each in names for name in (registry.names() if each == ALL else (each,))]
    return list(dict.fromkeys(every)), ALL in names


def make_method(name: str, retain: float | AutoBudget | None, seed: int, per: str | None = None) -> Method:
    """Make a method with the settings that it has; a file's method is unchanged."""
    if name.endswith(FILE):
        return registry.load(name)
    settings: dict[str, Any] = {"seed": seed, "per": per or "sample"} | ({} if retain is None else {"retain": retain})
    return registry.create_with(name, **settings)


def make_pruning(name: str, retain: float | AutoBudget | None, seed: int, per: str | None = None) -> Method:
    """Make a method for a command that prunes a model before it sees a picture.

    Raises:
        UnsupportedInputError: the method acts on pictures before the processor instead.
    """
    method = make_method(name, retain, seed, per)
    check_prunes(method)
    return method


def files_among(methods: str) -> tuple[str, ...]:
    """The files among comma-separated methods; they are inputs of the command."""
    return tuple(name for name in methods.split(",") if name.endswith(FILE))
