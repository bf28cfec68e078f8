"""Methods on the command line: registered names, JSON files, and `all`."""

from __future__ import annotations

import typer

from todre.cli.parsers import usage
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.methods.method_checks import check_prunes
from todre.methods.shared.seeds import with_seed

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


def make_method(name: str, retain: float | AutoBudget | None, seed: int | None, per: str | None = None) -> Method:
    """Make a method with the settings that it has.

    Of a file's method the seed alone is replaced, and only by one that the user set.
    """
    if name.endswith(FILE):
        method = registry.load(name)
        return method if seed is None else with_seed(method, seed)
    settings = {"seed": seed or 0, "per": per, "retain": retain}
    return registry.create_with(name, **{key: value for key, value in settings.items() if value is not None})


def make_pruning(name: str, retain: float | AutoBudget | None, seed: int | None, per: str | None = None) -> Method:
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
