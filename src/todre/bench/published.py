"""Published tables of cost: their rows, how each is measured, the printed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from todre.bench.method_specs import MethodSpec, specs_of
from todre.published import Row
from todre.published import table as printed

NAMES = ("v1-table3", "v1-table4", "v2-table4", "v2-table5")
_TWO_STAGES = ("todre", "todre-v1")


@dataclass(frozen=True)
class Published:
    """A row of a published table.

    Attributes:
        label: the row's printed label, with the budget where the table has several budgets.
        method: as `todre.bench.method_specs.parse` takes it; None for no pruning.
        retain: share of tokens that the row keeps; None where the row names no share.
        values: printed numbers by name.
    """

    label: str
    method: str | None
    retain: float | None
    values: Mapping[str, float]

    def subject(self, certain: bool, seed: int = 0) -> MethodSpec | None:
        """Method to measure for the row; None for no pruning.

        Args:
            certain: whether stage 2 drops at its first candidate layer, whatever attention says. With random weights
                attention never fades and stage 2 would drop nothing; a certain drop is the most that it can save.
            seed: seed of methods that choose at random.
        """
        if self.method is None:
            return None
        spec = self.method
        if certain and spec.split(":")[0] in _TWO_STAGES and "stages=1" not in spec:
            spec += ":threshold=1"
        return specs_of([spec], [] if self.retain is None else [self.retain], seed)[0]


@dataclass(frozen=True)
class Table:
    """A published table and how its rows are measured.

    Attributes:
        name: the table's name, as in `NAMES`.
        title: the printed title.
        new_tokens: length of each answer.
        rows: the rows, in printed order.
    """

    name: str
    title: str
    new_tokens: int
    rows: tuple[Published, ...]

    def subjects(self, certain: bool, seed: int = 0) -> list[MethodSpec]:
        """Methods to measure, besides no pruning."""
        return [found for row in self.rows if (found := row.subject(certain, seed)) is not None]


@dataclass(frozen=True)
class Column:
    """A cost that a table prints.

    Attributes:
        heading: the column's heading.
        key: name of the printed value.
        measure: reads the value from a measured row; returns None where the value was not measured.
    """

    heading: str
    key: str
    measure: Callable[[dict[str, Any]], float | None]


def table(name: str) -> Table:
    """The published table that is called `name`, one of `NAMES`."""
    found = printed(name)
    several = len({row.retain for row in found.rows if row.retain is not None}) > 1
    rows = tuple(Published(_label(row, several), row.method, row.retain, row.values) for row in found.rows)
    return Table(name, found.title, found.new_tokens or 1, rows)


def columns(name: str) -> tuple[Column, ...]:
    """Costs that a table prints and `todre bench` measures."""
    return _COSTS if printed(name).kind == "efficiency" else _TIMES


def _label(row: Row, several: bool) -> str:
    return row.title if several else row.label


def _peak_gb(row: dict[str, Any]) -> float | None:
    peak = row["peak_bytes"]
    return None if peak is None else float(peak["whole"]) / 1e9


def _tera(row: dict[str, Any]) -> float | None:
    return None if row["profiler_flops"] is None else float(row["profiler_flops"]) / 1e12


def _samples_per_second(row: dict[str, Any]) -> float | None:
    return float(row["samples_per_second"]["p50"])


def _seconds(row: dict[str, Any]) -> float | None:
    return float(row["ms"]["total"]["p50"]) / 1000


_COSTS = (
    Column("FLOPs, T", "flops_T", _tera),
    Column("memory, GB", "memory_GB", _peak_gb),
    Column("samples/s", "samples_per_second", _samples_per_second),
)
_TIMES = (Column("seconds", "seconds", _seconds),)
