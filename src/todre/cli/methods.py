"""`todre methods`: the list of registered methods, and each method's card."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from todre.cli import options as opt
from todre.cli.console import show, show_json, show_text
from todre.cli.method_names import parse_name
from todre.methods import registry
from todre.methods.card import NEEDS

WHERE = {
    "pixels": "picture, before the processor",
    "tower": "vision tower",
    "select": "before the LLM",
    "reduce": "inside the LLM",
}


def methods(
    name: Annotated[
        str | None, typer.Argument(parser=parse_name, metavar="[NAME]", help="A method to show by itself.")
    ] = None,
    json: opt.Json = False,
) -> None:
    """List the methods, or show one with its settings and their defaults.

    Of one method, it also shows where it acts, what it needs, and what it follows.
    """
    if json:
        show_json(facts(name) if name else [facts(each) for each in registry.names()])
        return
    if name is None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("method", "what it does", "acts", "source"):
            table.add_column(heading, no_wrap=heading == "method")
        for each in registry.names():
            entry = registry.entry(each)
            table.add_row(each, entry.summary, acts(entry), entry.paper or "–")
        show(table)
        return
    entry = registry.entry(name)
    show_text(f"{name}: {entry.summary}")
    show(_card(entry))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting")
    table.add_column("default")
    for key, value in settings(name).items():
        table.add_row(key, str(value))
    show(table)
    if entry.cls.__doc__:
        show_text(inspect.cleandoc(entry.cls.__doc__))


def _card(entry: registry.Entry) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, value in lines(entry).items():
        table.add_row(key, value)
    return table


def lines(entry: registry.Entry) -> dict[str, str]:
    """A method's card as text, by heading."""
    card = entry.card
    source = ", ".join(part for part in (entry.paper, card.venue) if part)
    needs = "; ".join(NEEDS[need] for need in card.needs)
    found = {"source": source, "acts": acts(entry), "needs": needs, "budget": card.budget, "follows": card.follows}
    return {key: value for key, value in found.items() if value}


def acts(entry: registry.Entry) -> str:
    """The places where a method acts, as text."""
    return ", ".join(WHERE[act] for act in entry.card.acts) or "nowhere"


def facts(name: str) -> dict[str, Any]:
    """A method's card and settings, ready for JSON."""
    entry = registry.entry(name)
    card = entry.card
    return {
        "name": name,
        "summary": entry.summary,
        "paper": entry.paper,
        "venue": card.venue,
        "acts": list(card.acts),
        "needs": list(card.needs),
        "budget": card.budget,
        "follows": card.follows,
        "settings": settings(name),
    }


def settings(name: str) -> dict[str, Any]:
    """A method's settings and their defaults."""
    made, known = registry.create(name).to_dict(), registry.entry(name).settings
    return {key: value for key, value in made.items() if key in known}
