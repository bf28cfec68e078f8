"""The page of a run of `todre eval`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.files import Kind, making_sense, read_json
from todre.onepage.conditions import compact, conditions_of
from todre.onepage.eval_charts import charts_of
from todre.onepage.pieces import Cell, Grid, Page, Row
from todre.onepage.samples import samples_of
from todre.reading.documents import document_of
from todre.reading.formats import TOKENS, cell_text, heading, tokens_text
from todre.reading.hard_split import GROUPS, group_cells, headings, sentence
from todre.reading.result_shape import RESULT
from todre.reading.results import MEASURES, Budget, Results, read
from todre.reading.tables import COLUMNS, Table, budget_text, table

TIMINGS = "timings.json"
_OF_TIMINGS = (
    "command", "machine", "cpu_count", "processes", "threads_per_process", "wall_seconds_of_this_call",
    "processor_seconds",
)  # fmt: skip
_NAMES = {
    "retention": "Retention of no pruning's score, %",
    "score": "Score, %",
    "difference": "Score minus no pruning's, points",
}
_MARKED = "Brackets are 95 % intervals; bold is the highest of a column within the budget."


@dataclass(frozen=True)
class EvalPage:
    """The page, and the files that it was made from."""

    page: Page
    files: tuple[Path, ...]


def eval_page(file: Path, most: int) -> EvalPage:
    """The page of a result of `todre eval`, with at most `most` questions.

    Raises:
        InvalidValueError: the result, or a file beside it, cannot be used.
    """
    results, document = read([file]), document_of(file)
    timings = file.with_name(TIMINGS)
    beside = timings.is_file() and file.name == "result.json"
    with making_sense(file, RESULT):
        made = samples_of(file, document, most)
        page = Page(
            title=f"todre eval: {results.model}",
            sentences=(
                f"{results.model} answered {results.questions:,} questions about {results.pictures:,} pictures in "
                f"{len(results.tasks)} task{'s' if len(results.tasks) > 1 else ''}, under "
                f"{len(results.names)} method{'s' if len(results.names) != 1 else ''} and without pruning. All "
                "methods answered the same questions.",
            ),
            charts=tuple(charts_of(results)),
            grids=(*grids_of(results), _settings(document["rows"])),
            remarks=(("Left out", tuple(f"{name}: {reason}" for name, reason in results.left_out.items())),),
            samples=made.samples,
            conditions=conditions_of(
                document["conditions"],
                {name: document[name] for name in ("bootstrap",) if name in document},
                _timings(timings) if beside else {},
            ),
        )
    return EvalPage(page, (file, *([timings] if beside else []), *made.files))


def grids_of(results: Results) -> Iterator[Grid]:
    """The tables of `todre table`: by budget, by task, and of the hard split."""
    if results.entries:
        for measure in MEASURES:
            made = table(results, measure)
            yield _grid(made, f"{_NAMES[measure]}, by budget", f"--measure {measure}", shown=measure == MEASURES[0])
    measures = MEASURES if results.entries else ("score",)
    budgets: Sequence[Budget | None] = results.budgets or (None,)
    for retain in budgets:
        for measure in measures:
            at = "" if retain is None else f", {budget_text(retain)} kept"
            option = "" if retain is None else f" --retain {retain:g}"
            yield _grid(
                table(results, measure, COLUMNS[1], retain),
                f"{_NAMES[measure]}, by task{at}",
                f"--columns {COLUMNS[1]} --measure {measure}{option}",
                shown=not results.entries,
            )
    yield from map(_split, results.splits)


def _grid(made: Table, caption: str, options: str, shown: bool) -> Grid:
    """A table of `todre.reading.tables` with its texts as `todre table` has them."""
    groups: list[tuple[Row, ...]] = []
    for name, cells in made.rows:
        first = next((cell.entry for cell in cells if cell.entry is not None), None)
        groups.append(
            (
                (
                    Cell(text=name, value=name),
                    Cell(text=tokens_text(cells), value=None if first is None else first.layer_mean),
                    *(
                        Cell(text=cell_text(cell, made.measure), value=cell.interval.value, best=cell.best)
                        for cell in cells
                    ),
                ),
            )
        )
    return Grid(
        caption=caption,
        headings=("method", TOKENS, *map(heading, made.columns)),
        groups=tuple(groups),
        note=f'{_MARKED} The same numbers as "todre table {options}".',
        shown=shown,
    )


def _split(split: dict[str, Any]) -> Grid:
    rows = [
        (
            Cell(text=row["name"], value=row["name"]),
            Cell(text=f"{row['layer_mean']:.0f}", value=row["layer_mean"]),
            *(Cell(text=text, value=row[group]["value"]) for group, text in zip(GROUPS, group_cells(row), strict=True)),
        )
        for row in split["rows"]
    ]
    at = "" if split["retain"] is None else f", {budget_text(split['retain'])} kept"
    return Grid(
        caption=f"Hard and simple questions{at}",
        headings=("method", TOKENS, *headings(split)),
        groups=tuple((row,) for row in rows),
        note=f'{sentence(split)} The same numbers as "todre table --hard".',
        shown=False,
    )


def _settings(rows: Sequence[dict[str, Any]]) -> Grid:
    """Every setting of every method."""
    return Grid(
        caption="Settings of the methods",
        headings=("method", "budget", "draws", "settings"),
        groups=tuple(
            (
                (
                    Cell(text=row["name"], value=row["name"]),
                    Cell(text=budget_text(row["retain"]), value=row["retain"]),
                    Cell(text=str(row["draws"]), value=row["draws"]),
                    Cell(text=compact(row["fields"]), value=compact(row["fields"])),
                ),
            )
            for row in rows
        ),
        shown=False,
    )


def _timings(file: Path) -> dict[str, Any]:
    """The command and the machine of the run's last call."""
    found = read_json(file, Kind("run the same `todre eval` again to write it anew, or take it away"))
    return {name: found[name] for name in _OF_TIMINGS if name in found}
