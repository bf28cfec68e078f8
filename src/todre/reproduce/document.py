"""The document of a reproduction, which `result.json` holds and `table.md` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError
from todre.files import Kind, read_json
from todre.files.shapes import FLAG, NUMBER, OBJECT, TEXT, Each, Shape, misfit
from todre.published import Row, Table
from todre.reproduce.outcome import Measured, table_rows

WHAT = "a published table, and the same measured"
"""Text that `todre reproduce` writes under `what` in the document of a table."""
_EDGES: Shape = {"low": NUMBER, "high": NUMBER}
_CELL: Shape = {
    "published": (NUMBER, None), "measured": (NUMBER, None), "difference": (NUMBER, None), "note": (TEXT, None),
    "interval?": (_EDGES, None),
}  # fmt: skip
_ROW: Shape = {
    "label": TEXT, "method": (TEXT, None), "cells": Each(_CELL), "shares": Each(_CELL), "note": (TEXT, None),
    "reason": (TEXT, None),
}  # fmt: skip
_SHAPE: Shape = {
    **dict.fromkeys(("recipe", "title", "paper", "model", "statement", "command"), TEXT),
    "comparable": FLAG, "costs": FLAG, "conditions": OBJECT, "benchmarks": Each(TEXT), "columns": [TEXT],
    "rows": [_ROW], "notes": [TEXT], "warnings": [TEXT],
}  # fmt: skip
REPRODUCED = Kind("give the folder of a table of `todre reproduce`, or its result.json", _SHAPE)
"""Kind of a `result.json` of a table of `todre reproduce`."""


@dataclass(frozen=True)
class Description:
    """Description of a reproduction: everything in its document beside the rows.

    Attributes:
        model: the model that was measured.
        statement: what the numbers are, in a sentence or two.
        comparable: whether measured and published numbers mean the same, so that their difference can be shown; if not,
            shares of no pruning are shown.
        benchmarks: text on the questions that were measured, by column.
        warnings: reasons against comparing; they precede all notes.
        conditions: conditions of the run, ready for JSON.
        command: the typed command.
    """

    model: str
    statement: str
    comparable: bool
    benchmarks: Mapping[str, str]
    warnings: Sequence[str]
    conditions: Mapping[str, Any]
    command: str


def document(
    table: Table,
    rows: Sequence[Row],
    values: Sequence[Measured | None],
    reasons: Sequence[str],
    description: Description,
) -> dict[str, Any]:
    """The document, ready for JSON; `values` and `reasons` have an item for each row."""
    return {
        "what": WHAT,
        "recipe": table.id,
        "title": table.title,
        "paper": table.paper,
        "model": description.model,
        "statement": description.statement,
        "comparable": description.comparable,
        "costs": table.kind == "efficiency",
        "command": description.command,
        "conditions": dict(description.conditions),
        "benchmarks": dict(description.benchmarks),
        "columns": list(table.columns),
        "rows": table_rows(table, rows, values, reasons),
        "notes": list(table.notes),
        "warnings": list(description.warnings),
    }


def read(path: Path) -> dict[str, Any]:
    """Read the document of a table.

    Raises:
        InvalidValueError: there is no such file, or the file is no table of `todre reproduce`.
    """
    found: dict[str, Any] = read_json(path, replace(REPRODUCED, shape=OBJECT))
    if found.get("what") != WHAT:
        raise REPRODUCED.wrong(path, "is no table of `todre reproduce`")
    wrong = misfit(found, _SHAPE)
    if wrong:
        raise REPRODUCED.wrong(path, wrong)
    return found


def restricted(table: Table, names: Sequence[str]) -> Table:
    """The table with only the benchmarks in `names`.

    Raises:
        InvalidValueError: the table lacks such a benchmark, or its numbers are not scores.
    """
    if not names:
        return table
    if table.kind == "efficiency":
        raise InvalidValueError(f"{table.id} measures costs, so that no benchmarks can be chosen; leave them out.")
    unknown = [name for name in names if name not in table.benchmarks]
    if unknown:
        raise InvalidValueError(f"{table.id} has no benchmark {unknown[0]!r}; it has {', '.join(table.benchmarks)}.")
    gone = set(table.benchmarks) - set(names)
    rows = tuple(
        replace(row, values={name: value for name, value in row.values.items() if name not in gone})
        for row in table.rows
    )
    return replace(table, benchmarks=tuple(name for name in table.benchmarks if name in names), rows=rows)


def partial_average(table: Table, names: Sequence[str]) -> list[str]:
    """A warning if the average is over fewer benchmarks than the published average."""
    if not names or len(names) == len(table.benchmarks):
        return []
    return [
        f"The measured average is over {len(names)} of the {len(table.benchmarks)} benchmarks that the published one "
        "is over."
    ]
