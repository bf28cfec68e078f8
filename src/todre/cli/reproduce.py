"""`todre reproduce`: the papers' tables and figures again, published beside measured."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from todre.cli import options as opt
from todre.cli import reproduce_options as ask
from todre.cli.console import show, show_json, show_text
from todre.cli.ignored_options import check_beside
from todre.files import check_folder, check_targets
from todre.reproduce.recipes import Recipe, recipe, recipes

_LOADING = {"device", "dtype", "attn_implementation", "trust_remote_code"}
_SCORES = {"limit", "benchmarks"}
ALWAYS = {"name", "listed", "model", "on", "output", "force", "yes", "dry_run", "json", "quiet", "verbose"}
USED = {
    "figure": _LOADING | {"limit", "questions", "batch_size"},
    "costs": _LOADING | {"benchmarks", "rounds"},
    "tiny": _SCORES | {"processes", "draws", "seed"},
    "real": _SCORES | _LOADING | {
        "task_map", "include_path", "budget", "seconds_per_question", "python", "ranks", "batch_size",
    },
}  # fmt: skip
"""Options that mean something on each route of `reproduce_routes`, beside those that always do."""


def route_of(kind: str, tiny: bool) -> str:
    """The route of a kind of recipe, a key of `USED`."""
    if kind in ("attention", "kept"):
        return "figure"
    if kind == "efficiency":
        return "costs"
    return "tiny" if tiny else "real"


@dataclass(frozen=True)
class ReproduceConfig:
    """The options as they were given, for the routes that a recipe can take."""

    recipe: Recipe
    model: str | None
    tiny: bool
    output: Path
    yes: bool
    dry_run: bool
    limit: int | None
    benchmarks: tuple[str, ...]
    task_map: dict[str, str]
    include_path: Path | None
    budget: str
    seconds_per_question: float | None
    python: str
    ranks: int
    processes: int
    draws: int
    seed: int
    batch_size: int
    rounds: int
    questions: Path | None
    device: str
    dtype: str
    attn_implementation: str | None
    trust_remote_code: bool
    json: bool
    quiet: bool


def reproduce(
    context: typer.Context,
    name: ask.Name = None,
    listed: ask.Listed = False,
    model: ask.Model = None,
    on: ask.On = None,
    output: ask.Output = None,
    force: opt.Force = False,
    yes: ask.Yes = False,
    dry_run: ask.DryRun = False,
    limit: ask.Limit = None,
    benchmarks: ask.Benchmarks = None,
    task_map: ask.TaskMap = None,
    include_path: ask.IncludePath = None,
    budget: ask.Budget = "count",
    seconds_per_question: ask.SecondsPerQuestion = None,
    python: ask.Python = None,
    ranks: ask.Ranks = 1,
    processes: ask.Processes = 1,
    draws: ask.Draws = 3,
    seed: ask.Seed = 0,
    batch_size: ask.BatchSize = 1,
    rounds: ask.Rounds = 3,
    questions: ask.Questions = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "auto",
    attn_implementation: opt.Attention = None,
    trust_remote_code: opt.TrustCode = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure a paper's table or figure again: published, measured and the difference, with what is known of a cell.

    Scores run through lmms-eval, costs as in todre bench, figures as in todre analyze.
    """
    if name is None or listed:
        check_beside(context, "A list of recipes", {"name", "listed", "json", "quiet", "verbose"})
        _list(json)
        return
    with opt.usage():
        found = recipe(name)
    if on is not None and model is not None:
        raise typer.BadParameter(f"--on {on} and -m {model} are two models; give one.")
    route = route_of(found.kind, on is not None)
    check_beside(context, f"{found.name}{' --on tiny' if on else ''}", ALWAYS | USED[route])
    folder = output or Path(f"todre-{found.name}")
    if not dry_run:
        _check_folder(found, folder, (model, questions, include_path), force)
    given = ReproduceConfig(
        found, model, on is not None, folder, yes, dry_run, limit, benchmarks or (), dict(task_map or ()), include_path,
        budget, seconds_per_question, python or sys.executable, ranks, processes, draws, seed, batch_size, rounds,
        questions, device, dtype, attn_implementation, trust_remote_code, json, quiet,
    )  # fmt: skip
    from todre.cli.reproduce_routes import follow

    follow(given)


def _check_folder(found: Recipe, folder: Path, inputs: tuple[str | Path | None, ...], force: bool) -> None:
    """Raise, before any work, unless the result can be written; what is unfinished is gone on with."""
    if not os.path.lexists(folder):
        check_folder(folder.parent)
        return
    check_folder(folder)
    written = {
        "radar": ("result.json", "table.md", f"{found.name}.png"),
        "attention": ("result.json", f"{found.name}.png"),
        "kept": ("result.json", f"{found.name}.png"),
    }
    names = written.get(found.kind, ("result.json", "table.md"))
    check_targets([folder / name for name in names], inputs, force)


def _list(json: bool) -> None:
    from rich import box
    from rich.table import Table

    if json:
        show_json([{"name": each.name, "title": each.title, "paper": each.paper, "kind": each.kind}
                   for each in recipes()])  # fmt: skip
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("recipe", "what it shows", "paper"):
        table.add_column(heading, no_wrap=heading == "recipe")
    for each in recipes():
        table.add_row(each.name, each.title, each.paper)
    show(table)
    show_text("todre reproduce RECIPE --on tiny runs one now; --dry-run says what it takes on a real model.")
