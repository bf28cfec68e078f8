"""`todre bench`: what pruning saves, and how far that is from a prompt that never had the dropped tokens."""

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
from todre.cli import options as opt
from todre.cli.console import check_output, note, show, show_json, show_text, working
from todre.cli.ignored_options import check_beside, check_taken
from todre.errors import InvalidValueError
from todre.files import check_folder, check_targets, new_folder
from todre.methods import registry

if TYPE_CHECKING:
    from todre.bench.document import Document
    from todre.bench.method_specs import MethodSpec
    from todre.bench.published import Table
    from todre.bench.run import Source

TOGETHER = 6
"""Methods that take turns where all are measured: so many that a run can be stopped without losing much."""

_TELLING = frozenset({"json", "quiet", "verbose"})
"""Options that say how results are shown."""

Tick = Callable[[str], None]


def bench(
    context: typer.Context,
    random_weights: ask.Weights = None,
    model: opt.Model = None,
    suite: ask.Suite = None,
    table: ask.PaperTable = None,
    methods: ask.Specs = None,
    retain: ask.Retains = None,
    batch: ask.Batches = None,
    text_tokens: ask.TextTokens = None,
    new_tokens: ask.AnswerTokens = None,
    backends: ask.Backends = None,
    threads: ask.Threads = None,
    rounds: ask.RoundCount = None,
    warm_up: ask.WarmUp = None,
    no_oracle: ask.NoOracle = False,
    no_memory: ask.NoMemory = False,
    output: ask.Output = None,
    resume: ask.Resume = False,
    force: opt.Force = False,
    earlier: ask.From = None,
    plots: ask.Plots = None,
    check: ask.Check = False,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure encode, select, prefill, first token, decode, memory and KV bytes, each beside its bound.

    The bound (the oracle of a method) is the untouched model on a prompt shortened by hand, with the pictures encoded
    and the selection made beside it, measured in turn with everything else. See docs/benchmarks.md.
    """
    if earlier is not None:
        check_beside(context, "--from", _TELLING | {"earlier", "plots", "force"})
    if check:
        check_beside(
            context, "--check", _TELLING | {"check", "suite", "random_weights", "backends", "output", "force", "device"}
        )
    given_files = (model, earlier, *(spec for spec in methods or () if spec.endswith(".json")))
    _check_files(output, resume, force, plots, earlier, given_files)
    if earlier is not None:
        _tell_earlier(earlier, plots, json, quiet)
        return
    given = {
        "preset": random_weights, "methods": methods, "retains": retain, "batches": batch, "text_tokens": text_tokens,
        "new_tokens": new_tokens, "backends": backends, "threads": threads, "rounds": rounds, "warm_up": warm_up,
        "oracle": False if no_oracle else None, "memory": False if no_memory else None, "seed": seed,
    }  # fmt: skip
    printed = _published(table)
    checkpoint = model is not None or (random_weights is None and suite is None and printed is None)
    with opt.usage():
        settings = _settings(suite, printed, given)
        chosen = _chosen(settings, printed, checkpoint)
    if printed is None and settings.methods != (opt.ALL,):
        check_taken(settings.methods, "--retain", retain, quiet)
    if model is not None and random_weights is not None:
        raise typer.BadParameter(f"--model {model} and --random-weights {random_weights} are two models; give one.")
    with working(quiet), _telling(quiet) as tick:
        if check:
            rows = _check(settings, device, tick)
        else:
            source = _source(model, checkpoint, settings, device, dtype, trust_remote_code, quiet, tick)
            document = _measure(source, settings, chosen, printed, output, resume, tick)
    if check:
        _tell_checks(rows, output, json)
        return
    _tell(document, plots, json, quiet)
    if output is not None:
        note(f"wrote {output}", quiet)


def _check_files(
    output: Path | None,
    resume: bool,
    force: bool,
    plots: Path | None,
    earlier: Path | None,
    inputs: Sequence[str | Path | None],
) -> None:
    """Raise, before any work, unless everything that is asked for can be written."""
    if resume and force:
        raise typer.BadParameter("--resume goes on with what is there, and --force replaces it; give one of the two.")
    check_output(output, (".json",), inputs, force or resume)
    if resume and output is None:
        raise typer.BadParameter(
            "--resume goes on with the document at --output, and there is none; give --output too."
        )
    if resume and output is not None and os.path.lexists(output):
        from todre.bench.document import read

        read(output)
    if earlier is not None and output is not None:
        raise typer.BadParameter("--from measures nothing that --output could hold; give one of the two.")
    if plots is not None:
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


def _settings(suite: str | None, printed: Table | None, given: dict[str, Any]) -> Settings:
    """The suite's settings, or a table's, with what was given in their place."""
    base = SUITES[suite].settings if suite is not None else Settings()
    if printed is not None:
        base = dataclasses.replace(base, new_tokens=(printed.new_tokens,))
    settings = dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})
    settings.cells()
    settings.how_often()
    return settings


def _source(
    model: str | None,
    checkpoint: bool,
    settings: Settings,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    quiet: bool,
    tick: Tick,
) -> Source:
    from todre.bench.presets import preset
    from todre.bench.run import Source, preset_source

    if checkpoint:
        loaded = opt.load_model(model, device, dtype, None, trust_remote_code, quiet)
        return Source(loaded.model, loaded=loaded, seed=settings.seed)
    tick(f"drawing the weights of {settings.preset}")
    return preset_source(preset(settings.preset), device, dtype, settings.seed)


def _chosen(settings: Settings, printed: Table | None, checkpoint: bool) -> Sequence[MethodSpec]:
    """The methods that are measured."""
    from todre.bench.method_specs import specs_of

    if printed is not None:
        return printed.subjects(certain=not checkpoint)
    names = tuple(registry.names()) if settings.methods == (opt.ALL,) else settings.methods
    return specs_of(names, settings.retains, settings.seed)


def _measure(
    source: Source,
    settings: Settings,
    chosen: Sequence[MethodSpec],
    printed: Table | None,
    output: Path | None,
    resume: bool,
    tick: Tick,
) -> Document:
    from todre.bench.run import run

    return run(
        source,
        chosen,
        settings.cells(),
        settings.how_often(),
        output=output,
        resume=resume,
        leave_out=settings.methods == (opt.ALL,),
        together=TOGETHER if settings.methods == (opt.ALL,) else 0,
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


def _tell_earlier(earlier: Path, plots: Path | None, json: bool, quiet: bool) -> None:
    from todre.bench.document import BENCH, read
    from todre.files import making_sense

    document = read(earlier, whole=True)
    with making_sense(earlier, BENCH):
        _tell(document, plots, json, quiet)


def _tell(document: Document, plots: Path | None, json: bool, quiet: bool) -> None:
    from todre.cli.bench_tables import measured_table, published_table

    if plots is not None:
        from todre.plots.bench import draw_all

        new_folder(plots)
        for file in draw_all(document, plots):
            note(f"wrote {file}", quiet)
    if json:
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


def _tell_checks(rows: list[dict[str, Any]], output: Path | None, json: bool) -> None:
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
def _telling(quiet: bool) -> Iterator[Tick]:
    """One line on stderr that says what is being measured."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda what: None
        return
    with Status("starting", console=console) as status:
        yield status.update
