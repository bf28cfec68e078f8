"""Layout of tables that are never cut, however narrow the terminal is.

Cells fold where words allow it; else each row becomes a block of lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

PIPE_WIDTH = 118
"""Width at which sentences fold in a table that does not go to a terminal.

The environment variable COLUMNS overrides this width.
"""
_WIDEST = 100_000
"""A width, in columns of text, that no table needs."""


def print_fitting(result: RenderableType, whole: bool = False) -> None:
    """Print on stdout, as wide as the terminal, or as COLUMNS says.

    A table that does not go to a terminal is as wide as its words need, or with `whole` as its cells need.
    """
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    console = Console(file=sys.stdout, highlight=False)
    if not isinstance(result, Table):
        console.print(result)
        return
    for column in result.columns:
        if not column.no_wrap:
            column.overflow = "fold"
    narrowest, widest = _widths(console, result)
    if not known:
        console.width = widest if whole else max(PIPE_WIDTH, narrowest)
    if narrowest <= console.width:
        console.print(result)
        return
    for line in _records(console, result):
        console.print(line, soft_wrap=False, overflow="fold")


def _widths(console: Console, table: Table) -> tuple[int, int]:
    """Least and greatest width of a table in columns of text.

    At the least width no word is broken.
    """
    measured = [_measured(console, table, column) for column in table.columns]
    widest = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    around = widest - sum(most for _, most in measured)
    return sum(least for least, _ in measured) + around, widest


def _measured(console: Console, table: Table, column: Column) -> tuple[int, int]:
    """Least and greatest width of a table's column in columns of text.

    A column that must not wrap has its greatest width as its least.
    """
    cells = [*([column.header] if table.show_header else []), *column.cells]
    options = console.options.update(max_width=_WIDEST)
    sizes = [Measurement.get(console, options, cell) for cell in cells]
    most = max((size.maximum for size in sizes), default=0)
    least = most if column.no_wrap else max((size.minimum for size in sizes), default=0)
    low, high = column.min_width or 0, column.max_width or _WIDEST
    return max(low, min(high, least)), max(low, min(high, most))


def _records(console: Console, table: Table) -> Iterator[Text]:
    """One block of lines for each row of a table.

    The first cell is the block's first line; each further cell has a line with its heading before it.
    """
    if table.title:
        yield _text(console, table.title)
    first, *others = table.columns
    cells = [list(column.cells) for column in others]
    for row, head in enumerate(first.cells):
        yield _text(console, head)
        for column, values in zip(others, cells, strict=True):
            heading, value = _text(console, column.header).plain, _text(console, values[row])
            if value.plain.strip():
                label = f"{' '.join(heading.split())}: " if table.show_header and heading.strip() else ""
                yield Text.assemble(f"  {label}", value)
    if table.caption:
        yield _text(console, table.caption)


def _text(console: Console, cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else console.render_str(str(cell))
