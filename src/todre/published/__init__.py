"""Tables of papers as they were printed, with notes on numbers that disagree.

Each JSON file here is one table. Values are named by benchmark, in percent or in the benchmark's own points. Costs are
`average_percent` (mean share of no pruning), `seconds` (total time), `flops_T`, `memory_GB`, `samples_per_second`,
`performance_percent`, `flops_reduction_percent`, `memory_reduction_percent` and `speedup`. `todre.reproduce` measures
the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

AVERAGE, SECONDS = "average_percent", "seconds"
NAMES = (
    *(f"v1-table{number}" for number in range(1, 7)),
    *(f"v2-table{number}" for number in range(1, 6)),
    *(f"v2-supplement{number}" for number in range(1, 4)),
    "horizon-llava",
    "horizon-qwen",
)


@dataclass(frozen=True)
class Row:
    """One row of a printed table.

    Attributes:
        label: name of the row in todre; rows of a table can share a label at different budgets.
        model: a name in `todre.bench.presets.PRESETS`.
        method: a text that `todre.bench.method_specs.parse` takes; None for no pruning, and where `reason` is set.
        retain: share of visual tokens kept; None where the row names none.
        tokens: printed count of visual tokens kept; None where none is printed.
        values: printed numbers by name.
        notes: notes on disagreements, by the name of a value, or under `row`.
        reason: why the row cannot be measured; empty where it can.
    """

    label: str
    model: str
    method: str | None
    retain: float | None
    tokens: int | None
    values: Mapping[str, float]
    notes: Mapping[str, str]
    reason: str

    @property
    def title(self) -> str:
        """The label with the budget."""
        return self.label if self.retain is None else f"{self.label}, {100 * self.retain:g} %"


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        id: one of `NAMES`.
        paper: name and arXiv number with version.
        title: what the table shows.
        kind: `scores` of benchmarks; `stages`, scores with total times; `efficiency`, costs of one benchmark's prompts.
        benchmarks: names in the order of the columns; for `efficiency`, the benchmark whose prompts were run.
        new_tokens: length of each answer in tokens, where costs are measured.
        rows: rows of the table; for each model, no pruning comes first.
        notes: notes about the whole table.
    """

    id: str
    paper: str
    title: str
    kind: str
    benchmarks: tuple[str, ...]
    new_tokens: int | None
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The presets of the table's rows, each once."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values that any row has.

        Benchmarks come first, in order, then the others as they appear.
        """
        known = dict.fromkeys(name for row in self.rows for name in row.values)
        first = [name for name in self.benchmarks if name in known or self.kind != "efficiency"]
        return (*first, *(name for name in known if name not in first))


def table(name: str) -> Table:
    """The published table of that name, one of `NAMES`."""
    text = files("todre.published").joinpath(f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return Table(
        id=document["id"],
        paper=document["paper"],
        title=document["title"],
        kind=document["kind"],
        benchmarks=tuple(document["benchmarks"]),
        new_tokens=document.get("new_tokens"),
        rows=tuple(_row(values) for values in document["rows"]),
        notes=tuple(document["notes"]),
    )


def _row(values: dict[str, Any]) -> Row:
    return Row(
        label=values["label"],
        model=values["model"],
        method=values["method"],
        retain=values["retain"],
        tokens=values.get("tokens"),
        values=values["values"],
        notes=values.get("notes", {}),
        reason=values.get("reason", ""),
    )
