"""`todre env` and `todre version`: what is installed."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from todre.cli import options as opt
from todre.cli.console import show, show_json, show_text
from todre.environment import describe, versions


def env(json: opt.Json = False) -> None:
    """Show versions and devices, to paste into a bug report."""
    facts = describe()
    if json:
        show_json(facts)
        return
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    for name, value in _flat(facts):
        table.add_row(name, value)
    show(table)


def version() -> None:
    """Show the version of todre."""
    show_text(versions()["todre"])


def _flat(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for name, value in facts.items():
        if name == "versions":
            lines += [(package, found or "–") for package, found in value.items() if package != "torchvision" or found]
        elif isinstance(value, dict):
            lines += [
                (f"{name} {key}", ", ".join(part) or "–" if isinstance(part, list) else str(part))
                for key, part in value.items()
            ]
        else:
            lines.append((name, str(value)))
    return lines
