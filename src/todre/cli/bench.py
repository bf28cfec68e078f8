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
from todre.cli.bench_serve import check_serve, measure_servers, served_files
from todre.cli.bench_serve_options import ServeOptions
from todre.cli.bench_show import show_checks, show_document, show_earlier
from todre.cli.console import check_output, note, working
from todre.cli.ignored_options import check_beside, check_taken
from todre.cli.method_names import ALL
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import usage
from todre.files import check_folder, check_targets
from todre.methods import registry

if TYPE_CHECKING:
    import torch

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
    load: ServeOptions = ServeOptions(),
    files: BenchFiles = BenchFiles(),
    check: ask.Check = False,
    seed: ask.Seed = 0,
    reporting: Reporting = Reporting(),
) -> None:
    """Measure time, memory and KV bytes of pruning, each beside its bound.

    Measured are encode, select, prefill, first token, decode, peak memory and KV bytes.

    A method's bound (its oracle) is the unpruned model on a prompt shortened by hand, with the pictures encoded and the
    selection made beside it. Everything is measured in turn. With --serve, servers are measured under load instead:
    requests per second, latencies, KV cache. See docs/benchmarks.md.
    """
    check_serve(context, load)
    _check_alone(context, files.earlier is not None, check, table is not None)
    inputs = (model.model, files.earlier, *served_files(sweep, load))
    _check_files(files, inputs, load.serve)
    if files.earlier is not None:
        show_earlier(files.earlier, files.plots, reporting)
        return
    if model.model is not None and random_weights is not None:
        raise typer.BadParameter(
            f"--model {model.model} and --random-weights {random_weights} are two models; give one."
        )
    if load.serve:
        with working(reporting.quiet), _status(reporting.quiet) as tick:
            document = measure_servers(random_weights, model, sweep, load, seed, files.output, files.resume, tick)
        _finish(document, files, reporting)
        return
    printed = _published(table)
    checkpoint = model.model is not None or (random_weights is None and suite is None and printed is None)
    preset = {} if random_weights is None else {"preset": random_weights}
    with usage():
        settings = _settings(suite, printed, {**preset, **sweep.settings(), "seed": seed})
        chosen = _chosen(settings, printed, checkpoint)
    if printed is None and settings.methods != (ALL,):
        check_taken(settings.methods, "--retain", sweep.retain, reporting.quiet)
    with working(reporting.quiet), _status(reporting.quiet) as tick:
        if check:
            rows, device = _check(settings, model.device, tick)
        else:
            source = _source(model, checkpoint, settings, reporting.quiet, tick, sweep.text_tokens is not None)
            document = _measure(source, settings, chosen, printed, files, tick)
    if check:
        show_checks(rows, device, files.output, reporting.json)
        return
    _finish(document, files, reporting)


def _finish(document: Document, files: BenchFiles, reporting: Reporting) -> None:
    """Show what was measured, and say where it was written."""
    show_document(document, files.plots, reporting)
    if files.output is not None:
        note(f"wrote {files.output}", reporting.quiet)


def _check_alone(context: typer.Context, earlier: bool, check: bool, table: bool) -> None:
    """Raise if an option would change nothing beside --from, --check or --table."""
    if earlier:
        check_beside(context, "--from", _SHOWING | {"earlier", "plots", "force"})
    if check:
        check_beside(
            context,
            "--check",
            _SHOWING | {"check", "suite", "random_weights", "backends", "output", "force", "device"},
        )
    if table:
        names = {each.name or "" for each in context.command.params}
        check_beside(context, "--table", names - {"methods", "retain"})


def _check_files(files: BenchFiles, inputs: Sequence[str | Path | None], load: bool) -> None:
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
        from todre.bench.load.document import read as read_load

        (read_load if load else read)(output)
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
    from todre.plots.bench_load import FILE as LOAD_FILE

    check_folder(plots)
    check_targets([*files_of(plots), plots / LOAD_FILE], inputs, force)


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


def _source(
    model: ModelOptions, checkpoint: bool, settings: Settings, quiet: bool, tick: Tick, exact_text: bool
) -> Source:
    """The model that is measured: a checkpoint, or the random weights of a preset."""
    from todre.bench.presets import preset
    from todre.bench.run import Source, preset_source

    if checkpoint:
        loaded = model.load(quiet)
        return Source(loaded.model, loaded, settings.seed, exact_text)
    tick(f"drawing the weights of {settings.preset}")
    return preset_source(preset(settings.preset), model.device, model.dtype, settings.seed)


def _chosen(settings: Settings, printed: Table | None, checkpoint: bool) -> Sequence[MethodSpec]:
    """The methods to measure."""
    from todre.bench.method_specs import specs_of

    if printed is not None:
        return printed.subjects(certain=not checkpoint, seed=settings.seed)
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


def _check(settings: Settings, name: str, tick: Tick) -> tuple[list[dict[str, Any]], torch.device]:
    """Rows of the check, and the device that they are of."""
    from todre.bench.correctness import BACKENDS, check
    from todre.bench.presets import preset
    from todre.loading.model import as_device

    backends = [backend for backend in settings.backends if backend is not None] or BACKENDS
    device = as_device(name)
    return check(preset(settings.preset), device, backends, tick), device


@contextmanager
def _status(quiet: bool) -> Iterator[Tick]:
    """Show on stderr, in one line, what is being measured."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda what: None
        return
    with Status("starting", console=console) as status:
        yield status.update
