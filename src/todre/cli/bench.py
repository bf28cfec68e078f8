"""`todre bench`: what pruning saves, and the most that it could save.

Each method is measured beside its bound: a prompt without the tokens that the method drops.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.status import Status

from todre.bench.settings import Settings
from todre.bench.suites import SUITES
from todre.cli import bench_options as ask
from todre.cli.bench_options import BenchFiles, SweepOptions
from todre.cli.console import check_output, note, show, show_json, show_text, working
from todre.cli.ignored_options import check_beside, check_taken
from todre.cli.method_names import ALL, FILE
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import usage
from todre.errors import InvalidValueError
from todre.files import check_folder, check_targets, new_folder
from todre.methods import registry

if TYPE_CHECKING:
    from todre.bench.document import Document
    from todre.bench.method_specs import MethodSpec
    from todre.bench.published import Table
    from todre.bench.run import Source

TOGETHER = 6
"""Number of methods that take turns when all methods are measured.

The number is small, so that stopping a run loses little.
"""

_SHOWING = frozenset({"json", "quiet", "verbose"})
"""Names of the options that only change how results are shown."""

Tick = Callable[[str], None]


def bench(
    context: typer.Context,
    random_weights: ask.Weights = None,
    model: ask.Checkpoint = ModelOptions(),
    suite: ask.Suite = None,
    table: ask.PaperTable = None,
    sweep: SweepOptions = SweepOptions(),
    files: BenchFiles = BenchFiles(),
    check: ask.Check = False,
    seed: ask.Seed = 0,
    reporting: Reporting = Reporting(),
) -> None:
    """Measure time, memory and KV bytes of pruning, each beside its bound.

    Measured are encode, select, prefill, first token, decode, peak memory and KV bytes.

    A method's bound (its oracle) is the unpruned model on a prompt shortened by hand, with the pictures encoded and the
    selection made beside it. Everything is measured in turn. See docs/benchmarks.md.
    """
    _check_alone(context, files.earlier is not None, check)
    inputs = (model.model, files.earlier, *(spec for spec in sweep.methods or () if spec.endswith(FILE)))
    _check_files(files, inputs)
    if files.earlier is not None:
        _show_earlier(files.earlier, files.plots, reporting)
        return
    printed = _published(table)
    checkpoint = model.model is not None or (random_weights is None and suite is None and printed is None)
    preset = {} if random_weights is None else {"preset": random_weights}
    with usage():
        settings = _settings(suite, printed, {**preset, **sweep.settings(), "seed": seed})
        chosen = _chosen(settings, printed, checkpoint)
    if printed is None and settings.methods != (ALL,):
        check_taken(settings.methods, "--retain", sweep.retain, reporting.quiet)
    if model.model is not None and random_weights is not None:
        raise typer.BadParameter(
            f"--model {model.model} and --random-weights {random_weights} are two models; give one."
        )
    with working(reporting.quiet), _status(reporting.quiet) as tick:
        if check:
            rows = _check(settings, model.device, tick)
        else:
            source = _source(model, checkpoint, settings, reporting.quiet, tick)
            document = _measure(source, settings, chosen, printed, files, tick)
    if check:
        _show_checks(rows, files.output, reporting.json)
        return
    _show(document, files.plots, reporting)
    if files.output is not None:
        note(f"wrote {files.output}", reporting.quiet)


def _check_alone(context: typer.Context, earlier: bool, check: bool) -> None:
    """Raise if an option would change nothing beside --from or --check."""
    if earlier:
        check_beside(context, "--from", _SHOWING | {"earlier", "plots", "force"})
    if check:
        check_beside(
            context,
            "--check",
            _SHOWING | {"check", "suite", "random_weights", "backends", "output", "force", "device"},
        )


def _check_files(files: BenchFiles, inputs: Sequence[str | Path | None]) -> None:
    """Raise, before any work, unless every file and figure can be written."""
    output = files.output
    if files.resume and files.force:
        raise typer.BadParameter("--resume goes on with what is there, and --force replaces it; give one of the two.")
    check_output(output, (".json",), inputs, files.force or files.resume)
    if files.resume and output is None:
        raise typer.BadParameter(
            "--resume goes on with the document at --output, and there is none; give --output too."
        )
    if files.resume and output is not None and os.path.lexists(output):
        from todre.bench.document import read

        read(output)
    if files.earlier is not None and output is not None:
        raise typer.BadParameter("--from measures nothing that --output could hold; give one of the two.")
    if files.plots is not None:
        _check_plots(files.plots, inputs, files.force)


def _check_plots(plots: Path, inputs: Sequence[str | Path | None], force: bool) -> None:
    """Raise, before any work, unless the figures can be written in the folder."""
    from todre.plots import require_matplotlib

    require_matplotlib()
    if not os.path.lexists(plots):
        check_folder(plots.parent)
        return
    from todre.plots.bench import files_of

    check_folder(plots)
    check_targets(files_of(plots), inputs, force)


def _published(name: str | None) -> Table | None:
    from todre.bench.published import table

    return None if name is None else table(name)


def _settings(suite: str | None, printed: Table | None, changes: dict[str, Any]) -> Settings:
    """The settings of the suite, or of a paper's table, with the user's changes."""
    base = SUITES[suite].settings if suite is not None else Settings()
    if printed is not None:
        base = dataclasses.replace(base, new_tokens=(printed.new_tokens,))
    settings = dataclasses.replace(base, **changes)
    settings.cells()
    settings.how_often()
    return settings


def _source(model: ModelOptions, checkpoint: bool, settings: Settings, quiet: bool, tick: Tick) -> Source:
    """The model that is measured: a checkpoint, or the random weights of a preset."""
    from todre.bench.presets import preset
    from todre.bench.run import Source, preset_source

    if checkpoint:
        loaded = model.load(quiet)
        return Source(loaded.model, loaded=loaded, seed=settings.seed)
    tick(f"drawing the weights of {settings.preset}")
    return preset_source(preset(settings.preset), model.device, model.dtype, settings.seed)


def _chosen(settings: Settings, printed: Table | None, checkpoint: bool) -> Sequence[MethodSpec]:
    """The methods to measure."""
    from todre.bench.method_specs import specs_of

    if printed is not None:
        return printed.subjects(certain=not checkpoint)
    names = tuple(registry.names()) if settings.methods == (ALL,) else settings.methods
    return specs_of(names, settings.retains, settings.seed)


def _measure(
    source: Source,
    settings: Settings,
    chosen: Sequence[MethodSpec],
    printed: Table | None,
    files: BenchFiles,
    tick: Tick,
) -> Document:
    from todre.bench.run import run

    return run(
        source,
        chosen,
        settings.cells(),
        settings.how_often(),
        output=files.output,
        resume=files.resume,
        leave_out=settings.methods == (ALL,),
        together=TOGETHER if settings.methods == (ALL,) else 0,
        command=" ".join(["todre", *sys.argv[1:]]),
        extra={"table": None if printed is None else printed.name},
        tick=tick,
    )


def _check(settings: Settings, device: str, tick: Tick) -> list[dict[str, Any]]:
    from todre.bench.correctness import BACKENDS, check
    from todre.bench.presets import preset
    from todre.loading.model import as_device

    backends = [backend for backend in settings.backends if backend is not None] or BACKENDS
    return check(preset(settings.preset), as_device(device), backends, tick)


def _show_earlier(earlier: Path, plots: Path | None, reporting: Reporting) -> None:
    """Show, and draw, a document that an earlier run wrote."""
    from todre.bench.document import BENCH, read
    from todre.files import making_sense

    document = read(earlier, whole=True)
    with making_sense(earlier, BENCH):
        _show(document, plots, reporting)


def _show(document: Document, plots: Path | None, reporting: Reporting) -> None:
    """Draw the figures, and show the document: as JSON with --json, else as tables."""
    from todre.cli.bench_tables import measured_table, published_table

    if plots is not None:
        from todre.plots.bench import draw_all

        new_folder(plots)
        for file in draw_all(document, plots):
            note(f"wrote {file}", reporting.quiet)
    if reporting.json:
        show_json(document)
        return
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    show_text(f"{model['name']} ({model['weights']} weights, {model['dtype']}) on {where}")
    for cell in document["finished"]:
        rows = [row for row in document["rows"] if row["asked"] == cell]
        show(measured_table(rows))
        if document["conditions"].get("table"):
            show(published_table(rows, document["conditions"]["table"], model["weights"] == "random"))
    for name, reason in document["left_out"].items():
        show_text(f"{name} does not apply here: {reason}")


def _show_checks(rows: list[dict[str, Any]], output: Path | None, json: bool) -> None:
    """Show what --check found; raise if pruning is wrong somewhere."""
    from todre.bench.conditions import record_checks
    from todre.cli.bench_tables import check_table

    document = record_checks(rows, output)
    if json:
        show_json(document)
    else:
        show(check_table(rows))
    wrong = [row["name"] for row in rows if row.get("ok") is False]
    if wrong:
        raise InvalidValueError(f"Pruning is not right with {', '.join(wrong)}; do not use it there, and report it.")


@contextmanager
def _status(quiet: bool) -> Iterator[Tick]:
    """Show on stderr, in one line, what is being measured."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda what: None
        return
    with Status("starting", console=console) as status:
        yield status.update
