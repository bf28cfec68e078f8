"""`todre plot`: figures of results that `todre eval` wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todre.cli import options as opt
from todre.cli import reading_options as ask
from todre.cli.budget_options import AtBudget
from todre.cli.console import check_figure, note
from todre.cli.options import Verbosity
from todre.cli.parsers import one_of
from todre.files import making_sense
from todre.reading.costs import ACROSS, TOKENS
from todre.reading.results import MEASURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Output = Annotated[Path, typer.Option("--output", help="The picture: .png, .svg, .pdf, .jpg or .webp.")]


Across = Annotated[
    str,
    typer.Option(
        "--across",
        parser=one_of(*ACROSS),
        metavar="COST",
        help="tokens (visual tokens per decoder layer), or what --bench measured: first-token, total, flops, kv.",
    ),
]
Bench = Annotated[
    Path | None,
    typer.Option("--bench", help="A JSON document of `todre bench`, for costs other than tokens."),
]


def retention(
    results: ask.Files,
    methods: ask.Methods = None,
    highlight: ask.Highlight = None,
    measure: ask.Measure = MEASURES[0],
    output: Output = Path("retention.png"),
    force: opt.Force = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Retention against the share of visual tokens kept, with bands of 95 % intervals."""

    def draw() -> Figure:
        from todre.plots.across_budgets import retention_figure

        return retention_figure(ask.read_results(results, methods), highlight or (), measure)

    _write(draw, output, results, force, verbosity.quiet)


def radar(
    results: ask.Files,
    retain: AtBudget = None,
    methods: ask.Methods = None,
    highlight: ask.Highlight = None,
    output: Output = Path("radar.png"),
    force: opt.Force = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Retention of each task at one budget, one polygon for each method.

    As figure 3 of ToDRE.
    """

    def draw() -> Figure:
        from todre.plots.across_budgets import radar_figure

        return radar_figure(ask.read_results(results, methods), highlight or methods or (), retain)

    _write(draw, output, results, force, verbosity.quiet)


def pareto(
    results: ask.Files,
    across: Across = TOKENS,
    bench: Bench = None,
    methods: ask.Methods = None,
    highlight: ask.Highlight = None,
    measure: ask.Measure = MEASURES[0],
    output: Output = Path("pareto.png"),
    force: opt.Force = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Accuracy against cost of every method at every budget, with Pareto front."""
    if (across == TOKENS) != (bench is None):
        raise typer.BadParameter(
            f"--across {across} "
            + (
                "needs no --bench; name another cost, or leave it out."
                if bench
                else "needs --bench with a document of `todre bench`."
            )
        )

    def draw() -> Figure:
        from todre.plots.pareto import pareto_figure
        from todre.reading.costs import bench_cost, token_cost

        found = ask.read_results(results, methods)
        if bench is None:
            return pareto_figure(found, token_cost(found), highlight or (), measure)
        from todre.bench.document import BENCH, read

        document = read(bench)
        with making_sense(bench, BENCH):
            cost = bench_cost(found, document, across)
        missing = [entry.label for entry in found.entries if entry.label not in cost.of]
        if missing:
            note(f"bench did not measure {', '.join(missing)}", verbosity.quiet)
        return pareto_figure(found, cost, highlight or (), measure)

    _write(draw, output, [*results, bench], force, verbosity.quiet)


def heatmap(
    results: ask.Files,
    retain: AtBudget = None,
    methods: ask.Methods = None,
    highlight: ask.Highlight = None,
    measure: Annotated[
        str,
        typer.Option(
            "--measure",
            parser=one_of("retention", "difference"),
            metavar="NAME",
            help="retention, or difference (from no pruning).",
        ),
    ] = MEASURES[0],
    output: Output = Path("heatmap.png"),
    force: opt.Force = False,
    verbosity: Verbosity = Verbosity(),
) -> None:
    """Every method by every task at one budget.

    A star marks where the interval of the difference excludes 0.
    """

    def draw() -> Figure:
        from todre.plots.heat_map import heatmap_figure

        return heatmap_figure(ask.read_results(results, methods), highlight or (), retain, measure)

    _write(draw, output, results, force, verbosity.quiet)


def _write(draw: Callable[[], Figure], output: Path, inputs: Sequence[Path | None], force: bool, quiet: bool) -> None:
    check_figure(output, inputs, force)
    figure = draw()
    from todre.plots.marks import save_figure

    save_figure(figure, output)
    note(f"wrote {output}", quiet)


COMMANDS = (
    (
        retention,
        "todre plot retention run",
        "todre plot retention run --highlight todre,fastv --measure score --output curves.svg",
    ),
    (radar, "todre plot radar run --retain 0.1 --methods todre,todre-v1,random"),
    (
        pareto,
        "todre plot pareto run",
        "todre plot pareto run --across first-token --bench bench.json --output speed.pdf",
    ),
    (
        heatmap,
        "todre plot heatmap run --retain 0.05",
        "todre plot heatmap run another/result.json --measure difference",
    ),
)
"""(command, examples…), in order."""
