"""Grids of methods × budgets × draws: a run's conditions and its result's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError, TodreError
from todre.evaluate.conditions import NONE, Condition, label
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.methods.shared.seeds import draws_at_random, reseeded

Retain = float | int | AutoBudget


@dataclass(frozen=True)
class Row:
    """A method at one budget, with one condition, or one for each random draw.

    Attributes:
        name: the method's name, or the name of its file without the suffix; with an automatic budget the two as one,
            such as `todre@auto`.
        retain: the budget; None for a method from a file, without a budget, or with one that each picture has its own
            number for.
        conditions: the row's conditions, with distinct names.
    """

    name: str
    retain: float | None
    conditions: tuple[Condition, ...]

    @property
    def label(self) -> str:
        """The row's label: name and budget, such as `todre@0.1`, or the name alone."""
        return self.name if self.retain is None else label(self.name, self.retain)

    @property
    def budget(self) -> Retain | None:
        """The budget, also of a method from a file, or automatic; None without."""
        own: Retain | None = getattr(self.conditions[0].method, "retain", None) if self.conditions else None
        return own if self.retain is None else self.retain


@dataclass(frozen=True)
class Grid:
    """Rows of a run, no pruning first, and the methods left out with their reasons."""

    rows: tuple[Row, ...]
    left_out: dict[str, str]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions of all rows, in order."""
        return tuple(condition for row in self.rows for condition in row.conditions)


def grid(
    methods: Sequence[str], retains: Sequence[Retain], draws: int = 3, seed: int = 0, forgiving: bool = False
) -> Grid:
    """The grid of every method at every budget.

    Methods without a budget get one row; methods that choose at random get `draws` conditions a row.

    Args:
        methods: registered names, and JSON files of methods; methods from files keep their own budget.
        retains: budgets: fractions, counts, or automatic ones.
        draws: number of runs of methods that choose at random, each with its own seed.
        seed: seed of the first draw.
        forgiving: whether methods that cannot be made go into `left_out`, instead of raising.

    Raises:
        InvalidValueError: a value that cannot be used, a method that has to be fitted first, or one name twice.
        UnknownMethodError: there is no such method.
    """
    if draws < 1:
        raise InvalidValueError(f"draws must be a whole number of at least 1, not {draws!r}.")
    if len(set(retains)) < len(retains):
        raise InvalidValueError(f"A budget is named twice among {', '.join(map(str, retains))}; name each once.")
    rows: list[Row] = [Row("none", None, (NONE,))]
    left_out: dict[str, str] = {}
    for spec in methods:
        for budget in () if spec == "none" else _budgets(spec, retains):
            try:
                rows.append(_row(spec, budget, draws, seed))
            except TodreError as error:
                if not forgiving:
                    raise
                left_out[f"{spec}@{budget}" if isinstance(budget, AutoBudget) else spec] = str(error)
    labels = [row.label for row in rows]
    twice = [label for place, label in enumerate(labels) if label in labels[:place]]
    if twice:
        raise InvalidValueError(f"Two methods have the name {twice[0]!r}; rename the file of one.")
    return Grid(tuple(rows), left_out)


def _budgets(spec: str, retains: Sequence[Retain]) -> Sequence[Retain | None]:
    """The budgets of a method's rows; None alone for a file, or a method without one."""
    none = spec.endswith(".json") or "retain" not in registry.entry(spec).settings
    return (None,) if none else retains


def _row(spec: str, retain: Retain | None, draws: int, seed: int) -> Row:
    """The row of a method at one budget."""
    if spec.endswith(".json"):
        return row_of(Path(spec).stem, None, registry.load(spec), draws, seed)
    if isinstance(retain, AutoBudget):
        return row_of(f"{spec}@{retain}", None, registry.create(spec, retain=retain), draws, seed)
    method = registry.create(spec) if retain is None else registry.create(spec, retain=retain)
    return row_of(spec, retain, method, draws, seed)


def row_of(name: str, retain: float | None, method: Method, draws: int, seed: int) -> Row:
    """The row of `method` called `name`, with a condition for each random draw."""
    base = Row(name, retain, ())
    if not draws_at_random(method):
        return Row(name, retain, (Condition(base.label, method),))
    conditions = [
        Condition(f"{base.label}#{draw}", reseeded(method, lambda own, draw=draw: own + draw))  # type: ignore[misc]
        for draw in range(seed, seed + draws)
    ]
    return Row(name, retain, tuple(conditions))


def facts(row: Row) -> dict[str, Any]:
    """Facts about a row's method, ready for JSON; seeds appear as a number of draws."""
    values = row.conditions[0].method.to_dict()
    return {"name": row.name, "retain": row.retain, "draws": len(row.conditions), "fields": values}
