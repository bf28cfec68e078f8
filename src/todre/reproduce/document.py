"""The document of a reproduction, which `result.json` holds and `table.md` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from todre.errors import InvalidValueError
from todre.published import Row, Table
from todre.reproduce.outcome import Measured, table_rows


@dataclass(frozen=True)
class Description:
    """What a document states beside its rows.

    Attributes:
        model: what was measured.
        statement: what the numbers are, in a sentence or two.
        comparable: whether the measured numbers stand for the same as the published ones, so that they differ by
            something; otherwise shares of no pruning are shown.
        benchmarks: by column, what it was measured on.
        warnings: what speaks against comparing, first of all notes.
        conditions: of the run, ready for JSON.
        command: what was typed.
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
    """The document, ready for JSON; `values` and `reasons` are of each of `rows`."""
    return {
        "what": "a published table, and the same measured",
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


def restricted(table: Table, names: Sequence[str]) -> Table:
    """The table with some of its benchmarks alone.

    Raises:
        InvalidValueError: it has no such benchmark, or its numbers are no scores.
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
    """A warning where the average is over fewer benchmarks than the published one."""
    if not names or len(names) == len(table.benchmarks):
        return []
    return [
        f"The measured average is over {len(names)} of the {len(table.benchmarks)} benchmarks that the published one "
        "is over."
    ]
