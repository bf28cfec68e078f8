"""`todre methods`: what there is to choose from."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from todre.cli import options as opt
from todre.cli.console import show, show_json, show_text
from todre.methods import registry


def methods(
    name: Annotated[
        str | None, typer.Argument(parser=opt.parse_method, metavar="[NAME]", help="Only this one.")
    ] = None,
    json: opt.Json = False,
) -> None:
    """List the methods, or show one with its settings and their defaults."""
    if json:
        show_json(_facts(name) if name else [_facts(each) for each in registry.names()])
        return
    if name is None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("method", "what it does", "source"):
            table.add_column(heading, no_wrap=heading == "method")
        for each in registry.names():
            entry = registry.entry(each)
            table.add_row(each, entry.summary, entry.paper or "–")
        show(table)
        return
    entry = registry.entry(name)
    show_text(f"{name}: {entry.summary}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting")
    table.add_column("default")
    for key, value in _settings(name).items():
        table.add_row(key, str(value))
    show(table)
    if entry.cls.__doc__:
        show_text(inspect.cleandoc(entry.cls.__doc__))


def _facts(name: str) -> dict[str, Any]:
    entry = registry.entry(name)
    return {"name": name, "summary": entry.summary, "paper": entry.paper, "settings": _settings(name)}


def _settings(name: str) -> dict[str, Any]:
    made, settings = registry.create(name).to_dict(), registry.entry(name).settings
    return {key: value for key, value in made.items() if key in settings}
