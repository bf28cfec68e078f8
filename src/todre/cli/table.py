"""`todre table`: results of `todre eval` as a table in Markdown, CSV or LaTeX."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from todre.cli import options as opt
from todre.cli import reading_options as ask
from todre.cli.budget_options import AtBudget
from todre.cli.console import note, show_text
from todre.cli.ignored_options import check_beside, is_given
from todre.cli.options import Verbosity
from todre.cli.parsers import one_of
from todre.errors import InvalidValueError
from todre.files import check_target, printable, write_atomic
from todre.reading.formats import SUFFIXES, WRITERS
from todre.reading.results import DIFFERENCE, MEASURES
from todre.reading.tables import COLUMNS

FORMAT = next(iter(WRITERS))


_USELESS_BESIDE_HARD = {"columns", "measure", "against", "sort"}

Columns = Annotated[
    str,
    typer.Option(
        "--columns", parser=one_of(*COLUMNS), metavar="NAME", help="budgets, or tasks (at the budget of --retain)."
    ),
]
Against = Annotated[
    str | None,
    typer.Option("--against", help="Show differences from this method, one that `todre eval --against` named."),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        help="name, given (the order of the run), or a column such as 0.05. "
        "Without it, the budget nearest to 10 %, or the mean.",
    ),
]
Hard = Annotated[
    bool,
    typer.Option(
        "--hard",
        help="Show the hard split instead: methods on questions that the unpruned model gets right, apart for those "
        "that it gets wrong with downsample at the same budget.",
    ),
]
NoIntervals = Annotated[bool, typer.Option("--no-intervals", help="Leave the intervals out (CSV always has them).")]
Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        parser=one_of(*WRITERS),
        metavar="NAME",
        help="markdown, csv or latex. Without it, by the suffix of --output (.md, .csv, .tex), else markdown.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", help="A file to write instead of stdout.")]


def table(
    context: typer.Context,
    results: ask.Files,
    columns: Columns = COLUMNS[0],
    measure: ask.Measure = MEASURES[0],
    against: Against = None,
    retain: AtBudget = None,
    methods: ask.Methods = None,
    sort: Sort = None,
    hard: Hard = False,
    no_intervals: NoIntervals = False,
    form: Form = None,
    output: Output = None,
    force: opt.Force = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Show every method's retention, scores or differences as a table.

    Beside each method stand the visual tokens that a decoder layer ran on, for each budget. Bold: the best of each
    column among the methods within the budget (up to 5 % more). Numbers are points of 100 with 95 % intervals; CSV has
    fractions with all digits, one line for each number.
    """
    if hard:
        check_beside(context, "--hard", {each.name or "" for each in context.command.params} - _USELESS_BESIDE_HARD)
    elif columns == COLUMNS[0] and retain is not None:
        raise typer.BadParameter("--retain would change nothing, because columns are budgets; add --columns tasks.")
    if against is not None and measure != DIFFERENCE and is_given(context, "measure"):
        raise typer.BadParameter(f"--against shows differences, and --measure says {measure}; leave one of them out.")
    kind = _format(form, output)
    if output is not None:
        check_target(output, results, force)
    from todre.reading.hard_split import WRITERS as HARD_WRITERS
    from todre.reading.hard_split import splits_of
    from todre.reading.tables import table as make

    found = ask.read_results(results, methods)
    if against is not None:
        found, measure = found.against(against), DIFFERENCE
    if hard:
        text = HARD_WRITERS[kind](splits_of(found, retain), not no_intervals)
    else:
        text = WRITERS[kind](make(found, measure, columns, retain, sort), not no_intervals)
    if output is None:
        show_text(text.rstrip("\n"))
        return
    write_atomic(output, text)
    note(f"wrote {output}", verbosity.quiet)


def _format(form: str | None, output: Path | None) -> str:
    """The format: `form` if it is set, else the format of the suffix of `output`."""
    if output is None:
        return form or FORMAT
    if os.path.isdir(output):
        raise InvalidValueError(f"{printable(output)} is a directory; give the name of a file to write.")
    found = form or SUFFIXES.get(output.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f"{printable(output)} has no suffix of a format; use {', '.join(SUFFIXES)}, or give --format."
        )
    return found
