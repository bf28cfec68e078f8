"""Tables of results: a row for each method, a column for each budget or task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from todre.errors import InvalidValueError
from todre.reading.costs import exceeds
from todre.reading.results import ALL, MEASURES, NONE, Budget, Entry, Interval, Results

COLUMNS = ("budgets", "tasks")
OWN = "own"
"""The column of methods without a budget."""


@dataclass(frozen=True)
class Cell:
    """A table cell: a number of one method, with its interval.

    Attributes:
        interval: the number with its interval; `interval.value` is None where the method was not run or lacks the
            measure.
        entry: the entry that the number comes from; None where the method was not run.
        task: name of the task, or `ALL`.
        over: True if the method carries more visual tokens per layer than the column's budget.
        best: True if the cell is marked as its column's highest within the budget; `_with_best` has the exceptions.
    """

    interval: Interval
    entry: Entry | None
    task: str
    over: bool = False
    best: bool = False

    @property
    def differs(self) -> bool:
        """True if the interval of the difference to no pruning excludes 0."""
        return self.entry is not None and self.entry.differs(self.task)


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    Attributes:
        measure: one of `MEASURES`.
        columns: headings of the cells.
        rows: (method's name, its cells).
        against: the method that differences are from.
    """

    measure: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    against: str = NONE


def budget_text(retain: Budget | None) -> str:
    """Text of a budget: "10 %", "288", or "own"."""
    if retain is None:
        return OWN
    return str(retain) if isinstance(retain, int) else f"{100 * retain:g} %"


def table(
    results: Results, measure: str = MEASURES[0], columns: str = COLUMNS[0], retain: Budget | None = None,
    sort: str | None = None,
) -> Table:  # fmt: skip
    """Table of one measure of every method, by budget, or at one budget by task.

    Args:
        results: the results to show.
        measure: `retention`, `score` or `difference`.
        columns: `budgets` or `tasks`.
        retain: the budget for tasks; without it, the one nearest to 10 %.
        sort: `name`, `given`, or a column to sort by from high to low; without it, the budget nearest to 10 %, or the
            mean over tasks.

    Raises:
        InvalidValueError: there is no such measure, column or budget.
    """
    for what, value, allowed in (("measure", measure, MEASURES), ("columns", columns, COLUMNS)):
        if value not in allowed:
            raise InvalidValueError(f"{what} must be one of {', '.join(allowed)}, not {value!r}.")
    made = _by_budget(results, measure) if columns == "budgets" else _by_task(results, measure, retain)
    if not made.columns:
        raise InvalidValueError("There is no method among the results; run `todre eval` with --methods.")
    key = sort or (ALL if columns == "tasks" else _usual(results, made))
    return replace(_with_best(_sorted(made, key)), against=results.reference)


def unmarked(made: Table) -> Table:
    """The table without any cell marked as best."""
    rows = tuple((name, tuple(replace(cell, best=False) for cell in cells)) for name, cells in made.rows)
    return replace(made, rows=rows)


def _usual(results: Results, made: Table) -> str:
    return budget_text(results.budget()) if results.budgets else made.columns[0]


def _by_budget(results: Results, measure: str) -> Table:
    budgets: list[Budget | None] = [*results.budgets]
    if results.at(None):
        budgets.append(None)
    found = {(entry.name, entry.retain): entry for entry in results.entries}
    rows = [
        (name, tuple(_cell(found.get((name, retain)), measure, ALL) for retain in budgets)) for name in results.names
    ]
    rows = [_none_row(none, measure, [ALL] * len(budgets)) for none in results.none if measure == "score"] + rows
    return Table(measure, tuple(budget_text(retain) for retain in budgets), tuple(rows))


def _by_task(results: Results, measure: str, retain: Budget | None) -> Table:
    tasks = (ALL, *results.tasks)
    budget = results.budget(retain) if results.budgets else None
    chosen = results.at(budget) if budget is not None else ()
    rows = [_none_row(none, measure, tasks) for none in results.none if measure == "score"]
    for entry in (*chosen, *results.at(None)):
        name = entry.name if entry.retain is not None else f"{entry.name} (own budget)"
        rows.append((name, tuple(_cell(entry, measure, task, budget) for task in tasks)))
    return Table(measure, tasks, tuple(rows))


def _cell(entry: Entry | None, measure: str, task: str, budget: Budget | None = None) -> Cell:
    if entry is None:
        return Cell(Interval(None), None, task)
    return Cell(entry.value(measure, task), entry, task, over=exceeds(entry, budget))


def _none_row(none: Entry, measure: str, tasks: Sequence[str]) -> tuple[str, tuple[Cell, ...]]:
    return none.name, tuple(_cell(none, measure, task) for task in tasks)


def _is_none(row: tuple[str, tuple[Cell, ...]]) -> bool:
    return row[0].partition(" (")[0] == NONE


def _sorted(made: Table, key: str) -> Table:
    """The table sorted by a column, by name, or not at all, no pruning first."""
    none = [row for row in made.rows if _is_none(row)]
    rows = [row for row in made.rows if not _is_none(row)]
    if key == "name":
        rows.sort(key=lambda row: row[0])
    elif key != "given":
        place = _place(made, key)
        rows.sort(key=_from_high_to_low(place))
    return replace(made, rows=tuple(none + rows))


def _from_high_to_low(place: int) -> Callable[[tuple[str, tuple[Cell, ...]]], tuple[bool, float, str]]:
    def key(row: tuple[str, tuple[Cell, ...]]) -> tuple[bool, float, str]:
        value = row[1][place].interval.value
        known = [cell.interval.value for cell in row[1] if cell.interval.value is not None]
        return value is None, -(value if value is not None else max(known, default=0.0)), row[0]

    return key


def _place(made: Table, key: str) -> int:
    """Place (0-based) of the column `key`: its heading, or a budget as in --retain."""
    if key in made.columns:
        return made.columns.index(key)
    try:
        number = float(key)
    except ValueError:
        number = -1.0
    written = budget_text(int(number) if number > 1 else number) if math.isfinite(number) else ""
    if written in made.columns:
        return made.columns.index(written)
    raise InvalidValueError(
        f"There is no column {key!r} to sort by; use name, given or one of {', '.join(made.columns)}."
    )


def _with_best(made: Table) -> Table:
    """The table with the best cell of each column marked: the highest within budget.

    If no method is within the budget, the highest of all is marked. If only one of several methods is, no cell is
    marked, as the method has nothing to compare with. Equal cells are all marked; no pruning does not count.
    """
    marked = {id(cell) for place in range(len(made.columns)) for cell in _best_of(made, place)}
    rows = tuple((name, tuple(replace(cell, best=id(cell) in marked) for cell in cells)) for name, cells in made.rows)
    return replace(made, rows=rows)


def _best_of(made: Table, place: int) -> list[Cell]:
    """The best cells of the column at `place` (0-based)."""
    cells = [row[1][place] for row in made.rows if not _is_none(row)]
    known = [(cell.interval.value, cell) for cell in cells if cell.interval.value is not None]
    fair = [(value, cell) for value, cell in known if not cell.over] or known
    if len(fair) == 1 < len(known):
        return []
    top = max((value for value, _ in fair), default=None)
    return [cell for value, cell in fair if value == top]
