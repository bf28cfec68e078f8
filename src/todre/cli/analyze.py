"""`todre analyze`: instruments that show why pruning works on a model or fails."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli import analyze_options as ask
from todre.cli import analyze_tables as tables
from todre.cli import options as opt
from todre.cli.analyze_options import DocumentOptions, InstrumentQuestions
from todre.cli.budget_options import Retain
from todre.cli.ignored_options import check_taken
from todre.cli.instrument_run import InstrumentRun, calibrated, write
from todre.cli.method_names import make_method, named_methods, parse_method
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import MOST, number, one_of, usage

Window = Annotated[
    int,
    typer.Option(
        "--window", min=1, max=MOST, help="Side of a window in tokens: 1 as in the paper's text, 2 as in its code."
    ),
]
Tolerance = Annotated[
    Any,
    typer.Option(
        "--tolerance",
        parser=number(0.0, 1.0, inside=True),
        metavar="NUMBER",
        help="Information of at most this, positive or negative, counts as none.",
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=1, max=MOST, help="Windows of one forward pass; changes no number.")]


Calibrated = Annotated[
    str, typer.Option("--method", parser=parse_method, metavar="NAME", help="todre, or a variant of it.")
]
Watched = Annotated[
    str,
    typer.Option("--method", parser=parse_method, metavar="NAME", help="A method that chooses tokens before the LLM."),
]
Loss = Annotated[
    Any,
    typer.Option(
        "--loss",
        parser=number(0.0, 1.0),
        metavar="NUMBER",
        help="Accuracy that may be lost; 0.02 is two points.",
    ),
]


Found = Annotated[
    Any,
    typer.Option(
        "--find",
        parser=one_of("pair", "horizon"),
        metavar="WHAT",
        help="The method to write: the layer and τ that save most (pair), or the method itself without its layers "
        "before the measured horizon (horizon).",
    ),
]


def migration(
    context: typer.Context,
    model: ModelOptions = ModelOptions(),
    questions: InstrumentQuestions = InstrumentQuestions(limit=60),
    files: DocumentOptions = DocumentOptions(output=Path("analysis-migration.json")),
    max_new_tokens: opt.NewTokens = 32,
    batch_size: ask.Batch = 4,
    reporting: Reporting = Reporting(),
) -> None:
    """Measure where attention goes, by layer and direction, in prefill and decode.

    It is measured between system prompt, picture and text (ToDRE, figure 2), and from generated tokens (figure 5).
    Nothing is pruned.
    """
    run = InstrumentRun(context, model, questions, files, reporting, batch_size)
    with run.measuring("migration") as (loaded, tick):
        from todre.analysis.migration import migration as measure
        from todre.plots.instruments import migration_figure

        job = run.job("migration", {"max_new_tokens": max_new_tokens}, loaded, tick)
        document = measure(job, max_new_tokens)
        write(job, document, migration_figure)
    run.report(job, document, tables.show_migration)


def horizon(
    context: typer.Context,
    model: ModelOptions = ModelOptions(),
    questions: InstrumentQuestions = InstrumentQuestions(limit=36),
    files: DocumentOptions = DocumentOptions(output=Path("analysis-horizon.json")),
    window: Window = 2,
    layers: ask.Layers = None,
    tolerance: Tolerance = 0.01,
    rows: Rows = 32,
    reporting: Reporting = Reporting(),
) -> None:
    """Find the layer after which visual tokens no longer change the answer.

    After a layer all visual tokens but one window are dropped, and the probability of the true answer is compared with
    that without any visual token, for each task (arXiv 2512.07580). Questions need true answers.
    """
    run = InstrumentRun(context, model, questions, files, reporting, short_answers=True)
    with run.measuring("horizon") as (loaded, tick):
        from todre.analysis.horizon import Probe
        from todre.analysis.horizon import horizon as measure
        from todre.plots.instruments import horizon_figure

        probe = Probe.checked(loaded.model, layers, window=window, rows=rows, tolerance=tolerance)
        job = run.job("horizon", {"window": window, "layers": list(probe.layers)}, loaded, tick)
        document = measure(job, probe)
        write(job, document, horizon_figure)
    run.report(job, document, tables.show_horizon)


def redundancy(
    context: typer.Context,
    model: ModelOptions = ModelOptions(),
    questions: InstrumentQuestions = InstrumentQuestions(limit=200),
    files: DocumentOptions = DocumentOptions(output=Path("analysis-redundancy.json")),
    batch_size: ask.Batch = 4,
    reporting: Reporting = Reporting(),
) -> None:
    """Measure redundancy within vision and across modalities (ToDRE, eq. 8 and 9).

    Also shows how far the two are independent.
    """
    run = InstrumentRun(context, model, questions, files, reporting, batch_size)
    with run.measuring("redundancy") as (loaded, tick):
        from todre.analysis.redundancy import redundancy as measure
        from todre.plots.instruments import redundancy_figure

        job = run.job("redundancy", {}, loaded, tick)
        document = measure(job)
        write(job, document, redundancy_figure)
    run.report(job, document, tables.show_redundancy)


def calibrate(
    context: typer.Context,
    model: ModelOptions = ModelOptions(),
    questions: InstrumentQuestions = InstrumentQuestions(limit=180, split="val"),
    files: DocumentOptions = DocumentOptions(output=Path("analysis-calibrate.json")),
    method: Calibrated = "todre",
    retain: Retain = None,
    loss: Loss = 0.02,
    find: Found = "pair",
    layers: ask.Layers = None,
    max_new_tokens: opt.NewTokens = 16,
    batch_size: ask.Batch = 9,
    seed: opt.Seed = None,
    reporting: Reporting = Reporting(),
) -> None:
    """Find the layer and τ of ToDRE's stage 2 that save most within an accuracy loss.

    The choice is made on half of the pictures and checked on the other half. Over all, each task's horizon is measured:
    the layer from which on dropping the picture stays within the loss. The method is also written, ready for --method,
    into a file that ends in .method.json. Questions need true answers.
    """
    run = InstrumentRun(
        context, model, questions, files, reporting, batch_size,
        short_answers=True, beside=(".method.json",), methods=method,
    )  # fmt: skip
    check_taken((method,), "--retain", retain)
    with usage():
        pruning = calibrated(make_method(method, retain, seed))
    with run.measuring("calibrate") as (loaded, tick):
        from todre.analysis.calibrate import calibrate as measure
        from todre.analysis.calibrate import save_method
        from todre.analysis.drop_records import Goal
        from todre.plots.instruments import calibration_figure

        goal = Goal.checked(loaded.model, pruning, loss, layers, max_new_tokens=max_new_tokens)
        job = run.job("calibrate", goal.parameters(), loaded, tick)
        document = measure(job, goal)
        save_method(document, files.output, find)
        write(job, document, calibration_figure)
    run.report(job, document, functools.partial(tables.show_calibration, find=find))


def kept(
    context: typer.Context,
    model: ModelOptions = ModelOptions(),
    questions: InstrumentQuestions = InstrumentQuestions(limit=3),
    files: DocumentOptions = DocumentOptions(output=Path("analysis-kept.json")),
    methods: opt.MethodNames = "todre,todre-v1,cls-top-k,random",
    retain: Retain = None,
    max_new_tokens: opt.NewTokens = 32,
    seed: opt.Seed = None,
    reporting: Reporting = Reporting(),
) -> None:
    """Show which visual tokens several methods keep of the same pictures.

    Drawn side by side, as in ToDRE's figures 1, 6 and 7.
    """
    run = InstrumentRun(context, model, questions, files, reporting, methods=methods)
    with usage():
        chosen = [(name, make_method(name, retain, seed)) for name in named_methods(methods)[0]]
    check_taken([name for name, _ in chosen], "--retain", retain, reporting.quiet)
    with run.measuring("kept tokens") as (loaded, tick):
        from todre.analysis.selections import kept as measure
        from todre.analysis.selections import rows_of
        from todre.plots.kept_tokens import kept_tokens_figure

        parameters = {"methods": {name: made.to_dict() for name, made in chosen}, "max_new_tokens": max_new_tokens}
        job = run.job("kept", parameters, loaded, tick)
        document = measure(job, chosen, max_new_tokens)
        rows = rows_of(document, run.source.questions(), loaded)
        write(job, document, lambda _: kept_tokens_figure(rows))
    run.report(job, document, tables.show_kept)


def guard(
    context: typer.Context,
    model: ModelOptions = ModelOptions(),
    questions: InstrumentQuestions = InstrumentQuestions(limit=180, split="val"),
    files: DocumentOptions = DocumentOptions(output=Path("analysis-guard.json")),
    method: Watched = "todre",
    retain: Retain = None,
    loss: Loss = 0.01,
    max_new_tokens: opt.NewTokens = 16,
    batch_size: ask.Batch = 9,
    seed: opt.Seed = None,
    reporting: Reporting = Reporting(),
) -> None:
    """Find the signal and threshold of a guard that catch what a method loses.

    The guard leaves the fewest pictures whole with which the loss stays within what is allowed. It is chosen on half of
    the pictures, checked on the other half, and also written, ready for --guard, into a file that ends in .guard.json.
    Questions need true answers.
    """
    run = InstrumentRun(
        context, model, questions, files, reporting, batch_size,
        short_answers=True, beside=(".guard.json",), methods=method,
    )  # fmt: skip
    check_taken((method,), "--retain", retain)
    from todre.analysis.guard_fit import GuardGoal, calibrate_guard, save_guard
    from todre.plots.guard_curves import guard_figure

    with usage():
        goal = GuardGoal(make_method(method, retain, seed), loss, max_new_tokens)
    with run.measuring("guard") as (loaded, tick):
        job = run.job("guard", goal.parameters(), loaded, tick)
        document = calibrate_guard(job, goal)
        save_guard(document, files.output)
        write(job, document, guard_figure)
    run.report(job, document, tables.show_guard)


COMMANDS = (
    (migration, "todre analyze migration", "todre analyze migration --limit 20 --output migration.json"),
    (
        horizon,
        "todre analyze horizon --window 6 --limit 36",
        "todre analyze horizon --questions questions.jsonl -m llava-hf/llava-1.5-7b-hf --layers 8,16,24",
    ),
    (redundancy, "todre analyze redundancy", "todre analyze redundancy --split val --json"),
    (
        calibrate,
        "todre analyze calibrate --retain 0.1 --loss 0.02",
        "todre analyze calibrate --method todre-v1 --find horizon --loss 0.05",
        "todre analyze calibrate --retain 288 -m llava-hf/llava-v1.6-vicuna-7b-hf --questions questions.jsonl",
    ),
    (
        guard,
        "todre analyze guard --retain 0.1 --loss 0.01",
        "todre analyze guard --method divprune --retain auto --questions questions.jsonl -m llava-hf/llava-1.5-7b-hf",
    ),
    (kept, "todre analyze kept", "todre analyze kept --methods todre,random --retain 0.05 --limit 2"),
)
"""(command, examples…), in order."""
