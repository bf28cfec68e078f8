"""The table of `todre reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from todre.reproduce.pages import headings, lines


def reproduced_table(result: dict[str, Any]) -> Table:
    """The result as a table: for each row, the paper's line and ours.

    A third line has the difference between both, where numbers can be compared.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("row", no_wrap=True)
    table.add_column("", no_wrap=True)
    for heading in headings(result):
        table.add_column(heading, justify="right", no_wrap=heading.startswith("average"))
    for line in lines(result):
        table.add_row(line.label, line.who, *line.cells)
    return table


def draw_radar(result: dict[str, Any], path: Path) -> Path:
    """Draw the table as radars into `path`; returns the file's path."""
    from todre.plots.marks import save_figure
    from todre.plots.reproduction import radars_figure

    save_figure(radars_figure(result), path)
    return path
