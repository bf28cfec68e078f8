"""Questions about tables: named rows and columns of digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from todre.pages.entries import Entry
from todre.pages.phrasing import Asked, Asker, digit, number, once, pick, with_role, word


def _names(entries: Sequence[Entry]) -> tuple[dict[int, str], dict[int, str]]:
    """Names of the rows, and names of the columns."""
    rows = {entry.row: entry.text for entry in with_role(entries, "row")}
    return rows, {entry.column: entry.text for entry in with_role(entries, "column")}


def ask_cell(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number in a row and a column."""
    rows, columns = _names(entries)
    cell = pick(rng, with_role(entries, "cell"))
    row, column = rows[cell.row], columns[cell.column]
    texts = (f"What number is in row {row}, column {column}?", f"Which number does {row} have under {column}?")
    return digit(rng, texts, cell.text)


def ask_row_of(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The row that has a number in a column."""
    rows, columns = _names(entries)
    column = pick(rng, sorted(columns))
    single = once([cell for cell in with_role(entries, "cell") if cell.column == column])
    if not single:
        return None
    cell, name = pick(rng, single), columns[column]
    texts = (f"Which row has {cell.text} in column {name}?", f"In which row is {cell.text} under {name}?")
    return word(rng, texts, rows[cell.row])


def ask_column_of(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The column that has a number in a row, in tables of several columns."""
    rows, columns = _names(entries)
    row = pick(rng, sorted(rows))
    single = once([cell for cell in with_role(entries, "cell") if cell.row == row])
    if not single or len(columns) == 1:
        return None
    cell, name = pick(rng, single), rows[row]
    texts = (f"Which column has {cell.text} in row {name}?", f"In which column of row {name} is {cell.text}?")
    return word(rng, texts, columns[cell.column])


def ask_row_sum(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The sum of a row, in tables of several columns."""
    rows, columns = _names(entries)
    if len(columns) == 1:
        return None
    row = pick(rng, sorted(rows))
    texts = (f"What is the sum of row {rows[row]}?", f"What do the numbers in row {rows[row]} add up to?")
    return number(rng, texts, sum(int(cell.text) for cell in with_role(entries, "cell") if cell.row == row))


def ask_column_sum(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The sum of a column."""
    _, columns = _names(entries)
    column = pick(rng, sorted(columns))
    texts = (
        f"What is the sum of column {columns[column]}?",
        f"What do the numbers under {columns[column]} add up to?",
    )
    return number(rng, texts, sum(int(cell.text) for cell in with_role(entries, "cell") if cell.column == column))


def ask_number_occurrences(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """How many cells hold a number of the table."""
    cells = [cell.text for cell in with_role(entries, "cell")]
    text = pick(rng, sorted(set(cells)))
    texts = (f"How many times does the number {text} occur?", f"How often is the number {text} in the table?")
    return number(rng, texts, cells.count(text))


def ask_rows(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of rows with numbers."""
    rows, _ = _names(entries)
    return number(rng, ("How many rows of numbers are there?", "How many rows have numbers?"), len(rows))


TABLE: dict[str, tuple[Asker, ...]] = {
    "reading": (ask_cell,),
    "locating": (ask_row_of, ask_column_of),
    "sum": (ask_row_sum, ask_column_sum),
    "count": (ask_number_occurrences, ask_rows),
}
"""Task → functions that ask."""
