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
