"""What `todre reproduce` does for each kind of recipe, on a real model and on the one that ships."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from todre.cli import options as opt
from todre.cli.analyze_options import command_line
from todre.cli.console import counting, note, show, show_json, show_text, working
from todre.cli.evaluate import progress_bar
from todre.errors import InvalidValueError
from todre.files import new_folder
from todre.published import Table, table
from todre.reproduce import pages as writing
from todre.reproduce.benchmarks import Benchmark, chosen
from todre.reproduce.document import Told, document, partial_average, restricted
from todre.reproduce.outcome import notes
from todre.reproduce.subjects import is_published, repository, rows_about, subjects

if TYPE_CHECKING:
    from todre.cli.reproduce import ReproduceConfig

FIGURE_ROWS = 0.1
"""The share that figure 3 shows."""


def follow(given: ReproduceConfig) -> None:
    """Take the route of the recipe."""
    from todre.cli.reproduce import route_of

    routes = {"figure": _figure, "costs": _costs, "tiny": _tiny, "real": _real}
    routes[route_of(given.recipe.kind, given.tiny)](given)


def published(given: ReproduceConfig) -> Table:
    """The table behind the recipe: some of its benchmarks, or for the radar some of its rows."""
    assert given.recipe.table is not None
    with opt.usage():
        found = restricted(table(given.recipe.table), given.benchmarks)
    if given.recipe.kind != "radar":
        return found
    rows = tuple(row for row in found.rows if row.retain in (None, FIGURE_ROWS) and row.model == found.models[0])
    return replace(found, id=given.recipe.name, title=given.recipe.title, rows=rows)


def agreed(given: ReproduceConfig, plan: Sequence[str], ask: bool = True) -> bool:
    """Say what would be done; whether to do it.

    Raises:
        InvalidValueError: nobody is there to be asked, and there is no --yes.
    """
    for line in plan:
        if given.dry_run and not given.json:
            show_text(line)
        else:
            note(line, given.quiet)
    if given.dry_run:
        if given.json:
            show_json({"recipe": given.recipe.name, "plan": list(plan)})
        return False
    if not ask or given.yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidValueError(
            "Nothing is begun without being asked for: add --yes, or --dry-run to see the plan alone."
        )
    return typer.confirm("Begin?", err=True)


def tell(given: ReproduceConfig, result: dict[str, Any]) -> None:
    """Write the result, and show it."""
    from todre.cli.reproduce_tables import reproduced_table

    new_folder(given.output)
    writing.write(result, given.output)
    names = "result.json and table.md"
    if given.recipe.kind == "radar":
        from todre.cli.reproduce_tables import draw_radar

        names = f"result.json, table.md and {draw_radar(result, given.output / f'{given.recipe.name}.png').name}"
    if given.json:
        show_json(result)
        return
    show_text(f"{result['title']} ({result['paper']}), beside {result['model']}")
    show_text(result["statement"])
    if not result["comparable"] and result["benchmarks"]:
        show_text("; ".join(f"{name}: {what}" for name, what in result["benchmarks"].items()))
    show(reproduced_table(result), whole=True)
    for line in notes(result):
        show_text(f"* {line}")
    note(f"wrote {names} in {given.output}", given.quiet)


def _tiny(given: ReproduceConfig) -> None:
    from todre.reproduce import tiny

    found = published(given)
    tasks = tiny.stands_in(chosen(found.benchmarks, {}))
    how = tiny.Tiny(given.output, given.limit or 40, given.processes, given.draws, given.seed)
    made = subjects(found.rows)
    answers = len(made) * len(tasks) * how.limit
    plan = [
        f"{found.id} on the model that ships: {len(made)} methods with budgets on {', '.join(tasks.values())}, "
        f"{how.limit} questions of each, about {answers:,} answers; nothing is downloaded"
    ]
    if not agreed(given, plan, ask=False):
        return
    new_folder(given.output)
    with working(given.quiet or given.json):
        runs = tiny.answered(found.rows, tasks, how, progress_bar(given.quiet))
    values, reasons, intervals = tiny.measured(found.rows, tasks, runs)
    stands = {name: f"{task}, {how.limit} questions" for name, task in tasks.items()}
    missing = [name for name in found.benchmarks if name not in tasks]
    warnings = partial_average(table(given.recipe.table or found.id), list(tasks))
    warnings += [f"Nothing that ships stands in for {', '.join(missing)}."] if missing else []
    if "seconds" in found.columns:
        warnings.append(
            "Times are not measured here, because methods share the encoding of pictures; `todre bench` measures them."
        )
    conditions = [ran.result["conditions"] for ran in runs]
    model = " and ".join(one["model"] for one in conditions)
    told = Told(model, tiny.STATEMENT, False, stands, warnings, {"runs": conditions}, command_line())
    result = document(found, found.rows, values, reasons, told)
    tiny.with_intervals(result["rows"], intervals)
    tell(given, result)


def _real(given: ReproduceConfig) -> None:
    from todre.reproduce import plan as planning
    from todre.reproduce import real
    from todre.reproduce.cells import Run, cells, require_lmms_eval

    found = published(given)
    model = given.model or repository(found.models[0])
    about = rows_about(found, model, _config(found, model))
    with opt.usage():
        benchmarks = chosen(found.benchmarks, given.task_map)
    made = subjects(about.rows, given.budget)
    options: dict[str, Any] = {"device": given.device, "dtype": given.dtype}
    options |= {} if given.attn_implementation is None else {"attn_implementation": given.attn_implementation}
    options |= {"trust_remote_code": True} if given.trust_remote_code else {}
    run = Run(
        model, given.output, given.limit, given.batch_size, given.ranks, options, given.include_path, given.python
    )
    todo = cells(made, benchmarks)
    planned = planning.plan(todo, benchmarks, run, given.seconds_per_question)
    if not agreed(given, planning.lines(planned, about, made, benchmarks, run), ask=bool(planned.missing)):
        return
    if planned.missing:
        require_lmms_eval(given.python)
    new_folder(given.output)
    known, failed = real.run_cells(todo, run, lambda line: note(line, given.quiet))
    values, reasons = real.measured(found, about.rows, benchmarks, known, failed, given.budget)
    warnings = [*about.warnings, *_cautions(given, benchmarks)]
    told = Told(
        model, _statement(model), True, {each.name: _stood(each, given.limit) for each in benchmarks}, warnings,
        {**run.conditions, "budget": given.budget, "ranks": given.ranks}, command_line(),
    )  # fmt: skip
    tell(given, document(found, about.rows, values, reasons, told))


def _config(found: Table, model: str) -> Any:
    """The model's config, where its name does not tell which one it is."""
    if is_published(found, model):
        return None
    from todre.loading.model import load_config

    return load_config(model)


def _cautions(given: ReproduceConfig, benchmarks: Sequence[Benchmark]) -> list[str]:
    """What speaks against taking differences at their word."""
    assert given.recipe.table is not None
    found = partial_average(table(given.recipe.table), given.benchmarks)
    if given.limit is not None:
        found.append(f"Only the first {given.limit} questions of each task were asked.")
    found += [f"{each.name} is measured on other questions: {each.note}." for each in benchmarks if each.note]
    return found


def _statement(model: str) -> str:
    return (
        f"Published: the paper's models, machines and versions of the benchmarks. Measured: {model} through lmms-eval, "
        "with the methods of this package. Total times are those of whole runs, loading included."
    )


def _stood(benchmark: Benchmark, limit: int | None) -> str:
    asked = "all questions" if limit is None else f"the first {limit} questions of each"
    return f"{', '.join(benchmark.tasks)} of lmms-eval, {asked}"


def _costs(given: ReproduceConfig) -> None:
    from todre.reproduce import costs

    found = published(given)
    model = None if given.tiny else given.model or repository(found.models[0])
    about = found.rows if model is None else rows_about(found, model, _config(found, model)).rows
    warnings = [] if model is None else list(rows_about(found, model, _config(found, model)).warnings)
    plan = [
        f"{found.id} on {model or 'the model that ships'}: {len(about)} rows, {given.rounds} rounds each, on one "
        "prompt with a picture of 672 × 672 pixels",
        "downloads: nothing, unless the model is on the hub (its size is said before the download starts)",
        "time: seconds for a small model on a CPU or a large one on a GPU; not known otherwise",
        *(f"warning: {warning}" for warning in warnings),
    ]
    if not agreed(given, plan, ask=model is not None):
        return
    new_folder(given.output)
    with working(given.quiet or given.json):
        loaded = _load(given, model)
        values, reasons, conditions = costs.measured(
            found, loaded, given.rounds, given.output, command_line(), lambda line: None
        )
    warnings.append("Costs are of one prompt of random pixels, not of POPE's; performance is what v1-table1 measures.")
    statement = (
        "Published: LLaVA-NeXT-7B on one RTX 3090. Measured: "
        + loaded.name
        + ", on the machine that result.json names. "
        "FLOPs are tallied as the paper's are, which leaves attention's products out."
    )
    told = Told(loaded.name, statement, not given.tiny, {}, warnings, conditions, command_line())
    tell(given, document(found, found.rows, values, reasons, told))


def _figure(given: ReproduceConfig) -> None:
    from todre.plots import require_matplotlib
    from todre.reproduce.figures import QUESTIONS, Drawing, draw

    require_matplotlib()
    model = None if given.tiny else given.model or repository("llava-next-7b")
    count = given.limit or QUESTIONS[given.recipe.kind]
    asked = f"{count} scenes" if given.questions is None else f"at most {count} questions of {given.questions}"
    plan = [
        f"{given.recipe.name} on {model or 'the model that ships'}: {asked}, nothing is pruned by the model itself",
        "downloads: nothing, unless the model is on the hub (its size is said before the download starts)",
    ]
    if not agreed(given, plan, ask=model is not None):
        return
    new_folder(given.output)
    with working(given.quiet or given.json):
        loaded = _load(given, model)
        with counting(given.recipe.name, given.quiet) as tick:
            drawing = Drawing(given.output, given.questions, given.limit, given.batch_size, command_line(), tick)
            result = draw(given.recipe, loaded, drawing)
    if given.json:
        show_json(result)
        return
    show_text(f"{given.recipe.title} ({given.recipe.paper}), of {loaded.name}")
    show_text(f"{given.output / given.recipe.name}.png")
    note(f"wrote result.json and {given.recipe.name}.png in {given.output}", given.quiet)


def _load(given: ReproduceConfig, model: str | None) -> Any:
    return opt.load_model(
        model, given.device, given.dtype, given.attn_implementation, given.trust_remote_code, given.quiet
    )
