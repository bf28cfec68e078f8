"""The page of a table of `todre reproduce`."""

from __future__ import annotations

from typing import Any

from todre.onepage.conditions import conditions_of
from todre.onepage.pieces import Grid, Page
from todre.onepage.reproduce_charts import reproduce_charts
from todre.reproduce.outcome import notes


def reproduce_page(document: dict[str, Any], grid: Grid) -> Page:
    """The page of a table.

    Args:
        document: the document of the table.
        grid: the table, as the command shows it.
    """
    return Page(
        title=f"todre reproduce {document['recipe']}: {document['title']}",
        sentences=(f"{document['paper']}, beside {document['model']}.", document["statement"]),
        charts=tuple(reproduce_charts(document)),
        grids=(grid,),
        remarks=(
            (
                "What each column was measured on",
                tuple(f"{name}: {what}" for name, what in document["benchmarks"].items()),
            ),
            ("Notes", tuple(notes(document))),
        ),
        samples=None,
        conditions=conditions_of({"command": document["command"]}, document["conditions"]),
    )
