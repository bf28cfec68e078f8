"""`todre batch`: many rows answered into one file, resumed after a kill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from todre.cli import batch_options as ask
from todre.cli import options as opt
from todre.cli.batch_files import check_answers, lines_of, open_source
from todre.cli.batch_options import EndpointOptions, WorkerOptions
from todre.cli.budget_options import BudgetPer, Retain
from todre.cli.command_line import command_line
from todre.cli.console import note, show_json, working
from todre.cli.ignored_options import check_beside, check_taken
from todre.cli.method_names import files_among, make_pruning
from todre.cli.options import ModelOptions, Reporting
from todre.cli.parsers import usage
from todre.cli.picture_guard import GuardName, guard_files, guard_of
from todre.errors import TodreError
from todre.files.locations import local_file
from todre.methods.auto_budget import AutoBudget
from todre.methods.guard import OFF

if TYPE_CHECKING:
    from todre.batch.records import Backend, Outcome
    from todre.batch.run import Summary, Watch
    from todre.batch.sources import Source

_OF_A_MODEL = ("method", "per", "guard", "seed", "device", "dtype", "attn_implementation", "trust_remote_code")
_OF_AN_ENDPOINT = ("endpoint_kind", "concurrency", "api_key_env", "retries", "timeout")


def batch(
    context: typer.Context,
    inputs: ask.Inputs,
    output: ask.Output,
    question: ask.Question = None,
    model: ModelOptions = ModelOptions(),
    method: opt.MethodName = "todre",
    retain: Retain = None,
    per: BudgetPer = None,
    guard: GuardName = OFF,
    max_new_tokens: opt.NewTokens = 64,
    seed: opt.Seed = None,
    retry_errors: ask.RetryErrors = False,
    allow_urls: opt.AllowUrls = False,
    where: WorkerOptions = WorkerOptions(),
    server: EndpointOptions = EndpointOptions(),
    reporting: Reporting = Reporting(),
) -> None:
    """Answer the rows of a file, or one question about many pictures, into a file.

    Each answer is on the disk before the next is begun, and the same command goes on after a kill. Rows are JSON lines
    of OpenAI's batch API, or plain ones: {"id": "1", "image": "a.png", "question": "…"}. A row that cannot be answered
    gets an error in its place; if there are any, the exit code is 1.
    """
    _check_where(context, where, server)
    if server.endpoint is None:
        if retain is not None and method == "none":
            raise typer.BadParameter("method 'none' keeps every token; leave out --retain, or choose another method.")
        check_taken((method,), "--retain", retain)
        check_taken((method,), "--per", per)
    source = open_source(inputs, question, reporting.silent, allow_urls)
    check_answers(output, (*map(local_file, inputs), model.model, *files_among(method), *guard_files(guard)))
    with working(reporting.silent, printing=reporting.json):
        from todre.batch.run import run

        if server.endpoint is not None:
            if isinstance(retain, AutoBudget):
                raise typer.BadParameter(
                    f"--endpoint sends a number as budget, not {retain}; give a number, or start the server with it."
                )
            conditions, backend = _endpoint(source, model, retain, max_new_tokens, server, allow_urls)
        else:
            with usage():
                pruning = make_pruning(method, retain, seed, per)
            watching = guard_of(guard, (pruning,))
            prunes = {"method": pruning.to_dict(), "guard": None if watching is None else watching.to_dict()}
            conditions, backend = _models(source, model, prunes, max_new_tokens, seed or 0, where, allow_urls)
            _say_if_other_versions(lines_of(output), reporting.silent)
        lines = lines_of(output)
        facts = {"input": source.name, "command": command_line()}
        watch = progress_bar(reporting.silent)
        summary = run(source, lines, conditions, backend, facts=facts, retry=retry_errors, watch=watch)
        if lines != output:
            from todre.batch.parquet import write_parquet

            write_parquet(lines, output)
    if server.endpoint is None:
        _say_if_toy(model.model, reporting.silent)
    _tell(summary, output, reporting)


def _check_where(context: typer.Context, where: WorkerOptions, server: EndpointOptions) -> None:
    """Raise if options contradict one another, or would change nothing."""
    ways = {"--processes": where.processes, "--ray": where.ray, "--endpoint": server.endpoint}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"{given[0]} and {given[1]} both say what answers; give one of the two.")
    names = {each.name or "" for each in context.command.params}
    if server.endpoint is not None:
        check_beside(context, "--endpoint", names - set(_OF_A_MODEL) - {"workers"})
    else:
        check_beside(context, "a model in memory (there is no --endpoint)", names - set(_OF_AN_ENDPOINT))
    if where.ray is None:
        check_beside(context, "a run without --ray", names - {"workers"})


def _models(
    source: Source,
    model: ModelOptions,
    prunes: dict[str, Any],
    limit: int,
    seed: int,
    where: WorkerOptions,
    urls: bool,
) -> tuple[dict[str, Any], Backend]:
    """The conditions of answers by models in memory, and what makes them."""
    import dataclasses

    from todre.batch.model_answers import Answering
    from todre.batch.run import inline

    answering = Answering(
        folder=source.folder,
        max_new_tokens=limit,
        seed=seed,
        urls=urls,
        **prunes,
        **dataclasses.asdict(model),
    )
    conditions = answering.conditions()
    if where.ray is not None:
        from todre.batch.on_ray import on_ray

        return conditions, on_ray(source, answering, where.ray, where.workers)
    if where.processes is not None:
        from todre.batch.processes import in_processes, threads_each

        answering = dataclasses.replace(answering, threads=threads_each(where.processes))
        return conditions, in_processes(answering.start, where.processes)
    return conditions, inline(answering.start)


def _endpoint(
    source: Source, model: ModelOptions, retain: float | None, limit: int, server: EndpointOptions, urls: bool
) -> tuple[dict[str, Any], Backend]:
    """The conditions of answers by a server, and what asks it."""
    from todre.batch.endpoint import Endpoint

    if retain is not None and server.endpoint_kind == "plain":
        raise typer.BadParameter("a plain endpoint takes no --retain; leave it out, or say --endpoint-kind.")
    asked = Endpoint(
        folder=source.folder,
        url=str(server.endpoint),
        kind=server.endpoint_kind,
        model=model.model or "",
        retain=retain,
        max_new_tokens=limit,
        concurrency=server.concurrency,
        retries=server.retries,
        timeout=server.timeout,
        key=server.api_key_env,
        urls=urls,
    ).with_model()
    return asked.conditions(), asked.answer


def _tell(summary: Summary, output: Path, reporting: Reporting) -> None:
    """Show what was done; raises if rows failed, so that the exit code says it."""
    tally = summary.tally
    if reporting.json:
        show_json({**summary.to_dict(), "output": str(output)})
    before = f", {summary.done_before} of them by an earlier run" if summary.done_before else ""
    saved = f"; visual tokens {tally.before:,} → {tally.after:,}" if tally.before else ""
    note(f"{output} has {tally.answered} of {summary.rows} rows answered{before}{saved}", reporting.silent)
    if tally.failed:
        raise TodreError(
            f"{tally.failed} of {summary.rows} rows could not be answered; {output} says why, and --retry-errors tries "
            "them again."
        )


def _say_if_other_versions(lines: Path, quiet: bool) -> None:
    """Say on stderr that an output goes on with other packages than it was begun with."""
    from todre.batch.settings import other_versions

    changed = [f"{name} {then}, now {now}" for name, (then, now) in other_versions(lines).items()]
    if changed:
        note(f"{lines} was begun with {'; '.join(changed)}; answers may differ", quiet)


def _say_if_toy(model: str | None, quiet: bool) -> None:
    """Say on stderr that a shipped model, which was loaded elsewhere, is a toy."""
    from todre.shipped import named, names
    from todre.tiny import SHIPPED

    name = model or SHIPPED
    if name in names():
        note(f"{name}{named(name).caution}; name a real model with -m.", quiet)


def progress_bar(quiet: bool) -> Watch:
    """Show a progress bar with rate and time left on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)

    def watch(outcomes: Iterable[Outcome], before: int, rows: int) -> Iterator[Outcome]:
        hidden = quiet or not console.is_terminal
        failed = 0
        with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
            task = bar.add_task("answering", total=rows, completed=before, rate="")
            for outcome in outcomes:
                yield outcome
                failed += outcome.failure is not None
                speed = bar.tasks[0].speed
                rate = f"{speed:.2g} rows/s" if speed else ""
                bar.update(task, advance=1, rate=rate + (f", {failed} failed" if failed else ""))

    return watch
