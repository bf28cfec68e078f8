"""Tables of the terminal as tables of a page, with the same texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from todre.onepage.pieces import Grid

_NUMBER = re.compile(r"[<+]?(-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?::(\d\d))?\s*([kMGT]i?)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def grid_of(table: Table, caption: str, key: int = 0, shown: bool = True) -> Grid:
    """A table of the terminal for a page.

    Rows without a name of their own stay with the one above.

    Args:
        table: the table; its caption becomes the note.
        caption: what the table shows.
        key: place of the row in a group by which groups are sorted.
        shown: whether the table is unfolded at first.
    """
    from todre.onepage.pieces import Cell, Grid, Row

    columns = [[_plain(cell) for cell in column.cells] for column in table.columns]
    groups: list[list[Row]] = []
    for texts in zip(*columns, strict=True):
        if not groups or texts[0][:1].strip():
            groups.append([])
        name = groups[-1][0][0].text if groups[-1] else texts[0]
        cells = (Cell(text=text, value=sort_value(text)) for text in texts[1:])
        groups[-1].append((Cell(text=texts[0], value=name), *cells))
    return Grid(
        caption=caption,
        headings=tuple(" ".join(_plain(column.header).split()) for column in table.columns),
        groups=tuple(map(tuple, groups)),
        note=" ".join(_plain(table.caption or "").split()),
        key=key,
        shown=shown,
    )


def sort_value(text: str) -> float | str | None:
    """What a cell is sorted by: the number that it begins with, or its text.

    An empty cell, or a dash, has None. `1:30` is in seconds, and units of a thousand or of 1024 count.
    """
    if text.strip() in ("", "–"):
        return None
    found = _NUMBER.match(text.strip())
    if found is None:
        return text
    value = float(found[1].replace(",", ""))
    return 60 * value + float(found[2]) if found[2] else value * _UNITS.get(found[3] or "", 1.0)


def bench_grids(document: dict[str, Any]) -> Iterator[Grid]:
    """The tables that `todre bench --from` shows."""
    from todre.cli.bench_tables import measured_table, published_table

    conditions = document["conditions"]
    for cell in document["finished"]:
        rows = [row for row in document["rows"] if row["asked"] == cell]
        made = measured_table(rows)
        yield grid_of(made, str(made.title))
        if conditions.get("table"):
            beside = published_table(rows, conditions["table"], conditions["model"]["weights"] == "random")
            yield grid_of(beside, str(beside.title))


def load_grids(document: dict[str, Any]) -> Iterator[Grid]:
    """The tables that `todre bench --from` shows of a load run."""
    from todre.cli.bench_serve_tables import load_table

    for cell in document["finished"]:
        made = load_table([row for row in document["rows"] if row["cell"] == cell], document["conditions"]["settings"])
        yield grid_of(made, str(made.title))


def reproduced_grid(document: dict[str, Any]) -> Grid:
    """The table that `todre reproduce` shows.

    Groups are sorted by what was measured here.
    """
    from todre.cli.reproduce_tables import reproduced_table

    return grid_of(reproduced_table(document), document["title"], key=1)


def _plain(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
