"""Shared steps of `todre reproduce`: the published table, consent, the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import typer

from todre.cli.console import note, show, show_json, show_text
from todre.cli.parsers import usage
from todre.cli.reproduce_config import ReproduceConfig
from todre.errors import InvalidValueError
from todre.files import new_folder
from todre.published import Table
from todre.reproduce import pages as writing
from todre.reproduce.document import restricted
from todre.reproduce.outcome import notes
from todre.reproduce.subjects import with_beside

FIGURE_ROWS = 0.1
"""Share of visual tokens kept in the rows that figure 3 shows."""


def published(config: ReproduceConfig) -> Table:
    """The published table of the recipe.

    The table has only the chosen benchmarks, and for the radar only the radar's rows; methods to measure beside the
    paper's have rows of their own.
    """
    with usage():
        whole = with_beside(restricted(config.recipe.printed, config.benchmarks), config.scope.beside or ())
    if config.recipe.kind != "radar":
        return whole
    rows = tuple(row for row in whole.rows if row.retain in (None, FIGURE_ROWS) and row.model == whole.models[0])
    return replace(whole, id=config.recipe.name, title=config.recipe.title, rows=rows)


def agreed(config: ReproduceConfig, plan: Sequence[str], ask: bool = True) -> bool:
    """Print the plan; returns whether to carry it out.

    Args:
        config: the run.
        plan: lines that say what would be done.
        ask: whether the user is asked, unless --yes is set.

    Raises:
        InvalidValueError: no user can be asked, and --yes is not set.
    """
    dry_run, json = config.consent.dry_run, config.reporting.json
    for line in plan:
        if dry_run and not json:
            show_text(line)
        else:
            note(line, config.reporting.quiet)
    if dry_run:
        if json:
            show_json({"recipe": config.recipe.name, "plan": list(plan)})
        return False
    if not ask or config.consent.yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidValueError(
            "Nothing is begun without being asked for: add --yes, or --dry-run to see the plan alone."
        )
    return typer.confirm("Begin?", err=True)


def deliver(config: ReproduceConfig, result: dict[str, Any]) -> None:
    """Write the result of a table, and show it."""
    from todre.cli.reproduce_tables import draw_radar, reproduced_table

    new_folder(config.folder)
    writing.write(result, config.folder)
    names = "result.json and table.md"
    if config.recipe.kind == "radar":
        radar = draw_radar(result, config.folder / f"{config.recipe.name}.png")
        names = f"result.json, table.md and {radar.name}"
    if config.reporting.json:
        show_json(result)
        return
    show_text(f"{result['title']} ({result['paper']}), beside {result['model']}")
    show_text(result["statement"])
    if not result["comparable"] and result["benchmarks"]:
        show_text("; ".join(f"{name}: {what}" for name, what in result["benchmarks"].items()))
    show(reproduced_table(result), whole=True)
    for line in notes(result):
        show_text(f"* {line}")
    note(f"wrote {names} in {config.folder}", config.reporting.quiet)
