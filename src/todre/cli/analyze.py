"""`todre analyze`: instruments that show why pruning works on a model, or does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from todre.cli import analyze_options as shared
from todre.cli import analyze_tables as tables
from todre.cli import options as opt
from todre.cli.analyze_options import AnalyzeConfig, measuring, report, write
from todre.cli.ignored_options import check_taken


def migration(
    model: opt.Model = None,
    questions: shared.Questions = None,
    limit: shared.Limit = 60,
    split: shared.Split = "test",
    size: shared.Size = 192,
    tasks: shared.Tasks = None,
    output: shared.Output = Path("analysis-migration.json"),
    figure: shared.Figure = None,
    force: opt.Force = False,
    max_new_tokens: opt.NewTokens = 32,
    batch_size: shared.Batch = 4,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Where attention goes, by layer and direction, in prefill and in decode.

    Between system prompt, picture and text (ToDRE, figure 2), and from generated tokens (figure 5). Nothing is pruned.
    """
    asking = AnalyzeConfig(
        model, questions, limit, split, size, tasks, output, figure, force, batch_size, device, dtype,
        attn_implementation, trust_remote_code, json, quiet,
    )  # fmt: skip
    with measuring(asking, "migration") as (loaded, tick):
        from todre.analysis.migration import migration as measure
        from todre.plots.instruments import migration_figure

        job = asking.job("migration", {"max_new_tokens": max_new_tokens}, loaded, tick)
        document = measure(job, max_new_tokens)
        write(job, document, migration_figure)
    report(asking, job, document, tables.show_migration)


def horizon(
    model: opt.Model = None,
    questions: shared.Questions = None,
    limit: shared.Limit = 36,
    split: shared.Split = "test",
    size: shared.Size = 192,
    tasks: shared.Tasks = None,
    output: shared.Output = Path("analysis-horizon.json"),
    figure: shared.Figure = None,
    force: opt.Force = False,
    window: Annotated[
        int,
        typer.Option(
            "--window", min=1, max=opt.MOST, help="Side of a window in tokens: 1 as the paper words it, 2 as its code."
        ),
    ] = 2,
    layers: shared.Layers = None,
    tolerance: Annotated[
        Any,
        typer.Option(
            "--tolerance",
            parser=opt.number(0.0, 1.0, inside=True),
            metavar="NUMBER",
            help="An information of at most this, either way, counts as none.",
        ),
    ] = 0.01,
    rows: Annotated[
        int, typer.Option("--rows", min=1, max=opt.MOST, help="Windows of one forward; changes no number.")
    ] = 32,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """After which layer no visual token changes the answer any more, for each task (arXiv 2512.07580).

    Of all visual tokens one window is left after a layer, and the true answer's probability compared with none left.
    Questions need true answers.
    """
    asking = AnalyzeConfig(
        model, questions, limit, split, size, tasks, output, figure, force, 1, device, dtype, attn_implementation,
        trust_remote_code, json, quiet, words=True,
    )  # fmt: skip
    with measuring(asking, "horizon") as (loaded, tick):
        from todre.analysis.horizon import Probe
        from todre.analysis.horizon import horizon as measure
        from todre.plots.instruments import horizon_figure

        probe = Probe.checked(loaded.model, layers, window=window, rows=rows, tolerance=tolerance)
        job = asking.job("horizon", {"window": window, "layers": list(probe.layers)}, loaded, tick)
        document = measure(job, probe)
        write(job, document, horizon_figure)
    report(asking, job, document, tables.show_horizon)


def redundancy(
    model: opt.Model = None,
    questions: shared.Questions = None,
    limit: shared.Limit = 200,
    split: shared.Split = "test",
    size: shared.Size = 192,
    tasks: shared.Tasks = None,
    output: shared.Output = Path("analysis-redundancy.json"),
    figure: shared.Figure = None,
    force: opt.Force = False,
    batch_size: shared.Batch = 4,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Redundancy within vision and across modalities (ToDRE, eq. 8 and 9), and how far they are independent."""
    asking = AnalyzeConfig(
        model, questions, limit, split, size, tasks, output, figure, force, batch_size, device, dtype,
        attn_implementation, trust_remote_code, json, quiet,
    )  # fmt: skip
    with measuring(asking, "redundancy") as (loaded, tick):
        from todre.analysis.redundancy import redundancy as measure
        from todre.plots.instruments import redundancy_figure

        job = asking.job("redundancy", {}, loaded, tick)
        document = measure(job)
        write(job, document, redundancy_figure)
    report(asking, job, document, tables.show_redundancy)


def calibrate(
    model: opt.Model = None,
    questions: shared.Questions = None,
    limit: shared.Limit = 180,
    split: shared.Split = "val",
    size: shared.Size = 192,
    tasks: shared.Tasks = None,
    output: shared.Output = Path("analysis-calibrate.json"),
    figure: shared.Figure = None,
    force: opt.Force = False,
    method: Annotated[
        str, typer.Option("--method", parser=opt.parse_method, metavar="NAME", help="todre or todre-v1.")
    ] = "todre",
    retain: opt.Retain = None,
    loss: Annotated[
        Any,
        typer.Option(
            "--loss",
            parser=opt.number(0.0, 1.0),
            metavar="NUMBER",
            help="Accuracy that may be lost, 0.02 for two points.",
        ),
    ] = 0.02,
    layers: shared.Layers = None,
    max_new_tokens: opt.NewTokens = 16,
    batch_size: shared.Batch = 9,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Find the layer and τ of ToDRE's stage 2 that save most within a loss of accuracy.

    Chosen on half of the pictures, checked on the other half. Also writes the method, ready for `from_dict`, into a
    file that ends in .method.json. Questions need true answers.
    """
    asking = AnalyzeConfig(
        model, questions, limit, split, size, tasks, output, figure, force, batch_size, device, dtype,
        attn_implementation, trust_remote_code, json, quiet, words=True, beside=(".method.json",), methods=method,
    )  # fmt: skip
    check_taken((method,), "--retain", retain)
    with opt.usage():
        pruning = shared.calibrated(opt.make_method(method, retain, seed))
    with measuring(asking, "calibrate") as (loaded, tick):
        from todre.analysis.calibrate import Goal, save_method
        from todre.analysis.calibrate import calibrate as measure
        from todre.plots.instruments import calibration_figure

        goal = Goal.checked(loaded.model, pruning, loss, layers, max_new_tokens=max_new_tokens)
        job = asking.job("calibrate", goal.parameters(), loaded, tick)
        document = measure(job, goal)
        save_method(document, output)
        write(job, document, calibration_figure)
    report(asking, job, document, tables.show_calibration)


def kept(
    model: opt.Model = None,
    questions: shared.Questions = None,
    limit: shared.Limit = 3,
    split: shared.Split = "test",
    size: shared.Size = 192,
    tasks: shared.Tasks = None,
    output: shared.Output = Path("analysis-kept.json"),
    figure: shared.Figure = None,
    force: opt.Force = False,
    methods: opt.MethodNames = "todre,todre-v1,cls-top-k,random",
    retain: opt.Retain = None,
    max_new_tokens: opt.NewTokens = 32,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Which visual tokens several methods keep of the same pictures, side by side (ToDRE, figures 1, 6 and 7)."""
    asking = AnalyzeConfig(
        model, questions, limit, split, size, tasks, output, figure, force, 1, device, dtype, attn_implementation,
        trust_remote_code, json, quiet, methods=methods,
    )  # fmt: skip
    with opt.usage():
        chosen = [(name, opt.make_method(name, retain, seed)) for name in opt.every(methods)[0]]
    check_taken([name for name, _ in chosen], "--retain", retain, quiet)
    with measuring(asking, "kept tokens") as (loaded, tick):
        from todre.analysis.selections import kept as measure
        from todre.analysis.selections import rows_of
        from todre.plots.kept_tokens import kept_tokens_figure

        parameters = {"methods": {name: made.to_dict() for name, made in chosen}, "max_new_tokens": max_new_tokens}
        job = asking.job("kept", parameters, loaded, tick)
        document = measure(job, chosen, max_new_tokens)
        rows = rows_of(document, asking.source.questions(), loaded)
        write(job, document, lambda _: kept_tokens_figure(rows))
    report(asking, job, document, tables.show_kept)


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
        "todre analyze calibrate --retain 288 -m llava-hf/llava-v1.6-vicuna-7b-hf --questions questions.jsonl",
    ),
    (kept, "todre analyze kept", "todre analyze kept --methods todre,random --retain 0.05 --limit 2"),
)
"""(command, examples…), in order."""
