"""The routes of `todre reproduce`, one for each kind of recipe and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from todre.cli.command_line import command_line
from todre.cli.console import counting, note, show_json, show_text, working
from todre.cli.evaluate import progress_bar
from todre.cli.parsers import usage
from todre.cli.reproduce_config import ReproduceConfig
from todre.cli.reproduce_result import agreed, deliver, published
from todre.files import new_folder
from todre.published import Table
from todre.reproduce.benchmarks import Benchmark, chosen
from todre.reproduce.document import Description, document, partial_average
from todre.reproduce.subjects import is_published, repository, rows_about, subjects

if TYPE_CHECKING:
    from todre.reproduce.cells import Run


def follow(config: ReproduceConfig) -> None:
    """Run the recipe by its route."""
    routes = {"figure": _figure, "costs": _costs, "small": _small, "real": _real}
    routes[config.route](config)


def _small(config: ReproduceConfig) -> None:
    """Measure scores of a small model, on scenes in place of the benchmarks."""
    from todre.reproduce import tiny

    printed = published(config)
    tasks = tiny.stands_in(chosen(printed.benchmarks, {}), config.small)
    shipped, loading = config.shipped, config.model
    how = tiny.Tiny(
        folder=config.folder,
        model=config.small,
        limit=config.scope.limit or 40,
        processes=shipped.processes,
        draws=shipped.draws,
        seed=shipped.seed,
        device=loading.device,
        dtype=loading.dtype,
        attn_implementation=loading.attn_implementation,
        trust_remote_code=loading.trust_remote_code,
    )
    methods = subjects(printed.rows)
    answers = len(methods) * len(tasks) * how.limit
    plan = [
        f"{printed.id} on {config.small or 'the model that ships'}: {len(methods)} methods with budgets on "
        f"{', '.join(tasks.values())}, {how.limit} questions of each, about {answers:,} answers; nothing is downloaded"
    ]
    if not agreed(config, plan, ask=False):
        return
    new_folder(config.folder)
    with working(config.reporting.silent):
        runs = tiny.answered(printed.rows, tasks, how, progress_bar(config.reporting.quiet))
    values, reasons, intervals = tiny.measured(printed.rows, tasks, runs)
    conditions = [ran.result["conditions"] for ran in runs]
    description = Description(
        model=" and ".join(one["model"] for one in conditions),
        statement=tiny.STATEMENT,
        comparable=False,
        benchmarks={name: f"{task}, {how.limit} questions" for name, task in tasks.items()},
        warnings=_small_warnings(config, printed, list(tasks)),
        conditions={"runs": conditions},
        command=command_line(),
    )
    result = document(printed, printed.rows, values, reasons, description)
    tiny.with_intervals(result["rows"], intervals)
    deliver(config, result)


def _small_warnings(config: ReproduceConfig, printed: Table, measured: Sequence[str]) -> list[str]:
    """Warnings on what a small model cannot measure of a table."""
    missing = [name for name in printed.benchmarks if name not in measured]
    warnings = partial_average(config.recipe.printed, measured)
    warnings += [f"Nothing that ships stands in for {', '.join(missing)}."] if missing else []
    if "seconds" in printed.columns:
        warnings.append(
            "Times are not measured here, because methods share the encoding of pictures; `todre bench` measures them."
        )
    return warnings


def _real(config: ReproduceConfig) -> None:
    """Measure scores of a real model, through lmms-eval."""
    from todre.reproduce import plan as planning
    from todre.reproduce import real
    from todre.reproduce.cells import cells, require_lmms_eval

    printed, harness = published(config), config.harness
    model = config.model.model or repository(printed.models[0])
    about = rows_about(printed, model, _model_config(printed, model))
    with usage():
        benchmarks = chosen(printed.benchmarks, harness.tasks)
    methods = subjects(about.rows, harness.budget)
    run = _harness_run(config, model)
    todo = cells(methods, benchmarks)
    planned = planning.plan(todo, benchmarks, run, harness.seconds_per_question)
    if not agreed(config, planning.lines(planned, about, methods, benchmarks, run), ask=bool(planned.missing)):
        return
    if planned.missing:
        require_lmms_eval(harness.interpreter)
    new_folder(config.folder)
    known, failed = real.run_cells(todo, run, lambda line: note(line, config.reporting.quiet))
    values, reasons = real.measured(printed, about.rows, benchmarks, known, failed, harness.budget)
    description = Description(
        model=model,
        statement=_statement(model),
        comparable=True,
        benchmarks={each.name: _questions_of(each, config.scope.limit) for each in benchmarks},
        warnings=[*about.warnings, *_cautions(config, benchmarks)],
        conditions={**run.conditions, "budget": harness.budget, "ranks": harness.ranks},
        command=command_line(),
    )
    deliver(config, document(printed, about.rows, values, reasons, description))


def _harness_run(config: ReproduceConfig, model: str) -> Run:
    """The settings of lmms-eval's runs, with the model's options as the user set them."""
    from todre.reproduce.cells import Run

    chosen_options: dict[str, Any] = {"device": config.model.device, "dtype": config.model.dtype}
    if config.model.attn_implementation is not None:
        chosen_options["attn_implementation"] = config.model.attn_implementation
    if config.model.trust_remote_code:
        chosen_options["trust_remote_code"] = True
    return Run(
        model=model,
        folder=config.folder,
        limit=config.scope.limit,
        batch_size=config.measure.batch_size,
        ranks=config.harness.ranks,
        options=chosen_options,
        include_path=config.harness.include_path,
        python=config.harness.interpreter,
    )


def _model_config(printed: Table, model: str) -> Any:
    """The model's config; None where the name tells which published model it is."""
    if is_published(printed, model):
        return None
    from todre.loading.model import load_config

    return load_config(model)


def _cautions(config: ReproduceConfig, benchmarks: Sequence[Benchmark]) -> list[str]:
    """Warnings on why measured and published values may differ."""
    cautions = partial_average(config.recipe.printed, config.benchmarks)
    if config.scope.limit is not None:
        cautions.append(f"Only the first {config.scope.limit} questions of each task were asked.")
    cautions += [f"{each.name} is measured on other questions: {each.note}." for each in benchmarks if each.note]
    return cautions


def _statement(model: str) -> str:
    return (
        f"Published: the paper's models, machines and versions of the benchmarks. Measured: {model} through lmms-eval, "
        "with the methods of this package. Total times are those of whole runs, loading included."
    )


def _questions_of(benchmark: Benchmark, limit: int | None) -> str:
    """Text that names the questions on which a benchmark is measured."""
    questions = "all questions" if limit is None else f"the first {limit} questions of each"
    return f"{', '.join(benchmark.tasks)} of lmms-eval, {questions}"


def _costs(config: ReproduceConfig) -> None:
    """Measure FLOPs, memory and throughput, as `todre bench` does."""
    from todre.reproduce import costs

    printed, rounds = published(config), config.measure.rounds
    model = config.model_name(repository(printed.models[0]))
    about = None if model is None or config.on else rows_about(printed, model, _model_config(printed, model))
    warnings = [] if about is None else list(about.warnings)
    plan = [
        f"{printed.id} on {model or 'the model that ships'}: {len(about.rows if about else printed.rows)} rows, "
        f"{rounds} rounds each, on one prompt with a picture of 672 × 672 pixels",
        "downloads: nothing, unless the model is on the hub (its size is said before the download starts)",
        "time: seconds for a small model on a CPU or a large one on a GPU; not known otherwise",
        *(f"warning: {warning}" for warning in warnings),
    ]
    if not agreed(config, plan, ask=config.on is None):
        return
    new_folder(config.folder)
    with working(config.reporting.silent):
        loaded = replace(config.model, model=model).load(config.reporting.quiet)
        values, reasons, conditions = costs.measured(
            printed, loaded, rounds, config.folder, command_line(), lambda line: None, anew=config.force
        )
    warnings.append("Costs are of one prompt of random pixels, not of POPE's; performance is what v1-table1 measures.")
    description = Description(
        model=loaded.name,
        statement=f"Published: LLaVA-NeXT-7B on one RTX 3090. Measured: {loaded.name}, on the machine that result.json "
        "names. FLOPs are tallied as the paper's are, which leaves attention's products out.",
        comparable=config.on is None,
        benchmarks={},
        warnings=warnings,
        conditions=conditions,
        command=command_line(),
    )
    deliver(config, document(printed, printed.rows, values, reasons, description))


def _figure(config: ReproduceConfig) -> None:
    """Draw a figure of attention or of kept tokens, as `todre analyze` does."""
    from todre.plots import require_matplotlib
    from todre.reproduce.figures import QUESTIONS, Drawing, draw

    require_matplotlib()
    name, limit, questions = config.recipe.name, config.scope.limit, config.measure.questions
    model = config.model_name(repository("llava-next-7b"))
    count = limit or QUESTIONS[config.recipe.kind]
    pictures = f"{count} scenes" if questions is None else f"at most {count} questions of {questions}"
    plan = [
        f"{name} on {model or 'the model that ships'}: {pictures}, nothing is pruned by the model itself",
        "downloads: nothing, unless the model is on the hub (its size is said before the download starts)",
    ]
    if not agreed(config, plan, ask=config.on is None):
        return
    new_folder(config.folder)
    with working(config.reporting.silent):
        loaded = replace(config.model, model=model).load(config.reporting.quiet)
        with counting(name, config.reporting.quiet) as tick:
            drawing = Drawing(config.folder, questions, limit, config.measure.batch_size, command_line(), tick)
            result = draw(config.recipe, loaded, drawing)
    if config.reporting.json:
        show_json(result)
        return
    show_text(f"{config.recipe.title} ({config.recipe.paper}), of {loaded.name}")
    show_text(f"{config.folder / name}.png")
    note(f"wrote result.json and {name}.png in {config.folder}", config.reporting.quiet)
