"""`todre report`: a run as one HTML file that can be sent and opened anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli import options as opt
from todre.cli.console import check_output, note
from todre.cli.ignored_options import check_beside
from todre.cli.options import Verbosity
from todre.files import check_target, making_sense, write_atomic
from todre.reading.documents import file_of

if TYPE_CHECKING:
    from todre.onepage.pieces import Page
    from todre.onepage.runs import Found

SUFFIXES = (".html", ".htm")
MOST_SAMPLES = 100
_USELESS_WITHOUT_ANSWERS = {"samples"}

Run = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Folder of `todre eval` or `todre reproduce`, its result.json, or a document of `todre bench`.",
    ),
]
Output = Annotated[Path, typer.Option("--output", help="The page: .html.")]
Samples = Annotated[
    int,
    typer.Option(
        "--samples",
        min=0,
        max=MOST_SAMPLES,
        help="Questions to show with their pictures, where methods disagree; only for `todre eval`.",
    ),
]


def report(
    context: typer.Context,
    run: Run,
    output: Output = Path("report.html"),
    samples: Samples = 12,
    force: opt.Force = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Write a run as one HTML page: tables that sort, plots, questions and conditions.

    The page holds everything that it shows and asks no network for anything. Tables have the numbers of `todre table`,
    `todre bench` and `todre reproduce`; plots show values and intervals under the pointer.
    """
    check_output(output, SUFFIXES, (file_of(run),), force)
    from todre.onepage import require_packages

    require_packages()
    from todre.onepage.render import html
    from todre.onepage.runs import EVAL, find

    found = find(run)
    if found.kind != EVAL:
        useful = {each.name or "" for each in context.command.params} - _USELESS_WITHOUT_ANSWERS
        check_beside(context, f"a run of `todre {found.kind}`", useful)
    page, files = page_of(found, samples)
    check_target(output, files, force)
    write_atomic(output, html(page))
    note(f"wrote {output}", verbosity.quiet)


def page_of(found: Found, samples: int) -> tuple[Page, tuple[Path, ...]]:
    """The page of a run, and the files that it was made from.

    Args:
        found: the run's file.
        samples: most questions that are shown.
    """
    from todre.cli.report_tables import bench_grids, load_grids, reproduced_grid
    from todre.onepage.runs import BENCH, EVAL, LOAD

    file = found.file
    if found.kind == EVAL:
        from todre.onepage.eval_page import eval_page

        made = eval_page(file, samples)
        return made.page, made.files
    if found.kind in (BENCH, LOAD):
        from todre.bench.document import BENCH as BENCH_FILE
        from todre.bench.document import read
        from todre.bench.load.document import LOAD as LOAD_FILE
        from todre.bench.load.document import read as read_load
        from todre.onepage.bench_page import bench_page, load_page

        if found.kind == BENCH:
            document = read(file, whole=True)
            with making_sense(file, BENCH_FILE):
                return bench_page(document, bench_grids(document)), (file,)
        document = read_load(file)
        with making_sense(file, LOAD_FILE):
            return load_page(document, load_grids(document)), (file,)
    from todre.onepage.reproduce_page import reproduce_page
    from todre.reproduce.document import REPRODUCED
    from todre.reproduce.document import read as read_table

    document = read_table(file)
    with making_sense(file, REPRODUCED):
        return reproduce_page(document, reproduced_grid(document)), (file,)
