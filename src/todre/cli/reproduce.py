"""`todre reproduce`: the papers' tables and figures, published and measured."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from todre.cli import options as opt
from todre.cli import reproduce_options as ask
from todre.cli.console import show, show_json, show_text
from todre.cli.ignored_options import check_beside
from todre.cli.options import Reporting
from todre.cli.parsers import usage
from todre.cli.reproduce_config import ALWAYS, USED, ReproduceConfig, route_of
from todre.cli.reproduce_options import (
    ConsentOptions,
    HarnessOptions,
    MeasureOptions,
    PaperModelOptions,
    ScopeOptions,
    ShippedOptions,
)
from todre.files import check_folder, check_targets
from todre.reproduce.recipes import Recipe, recipe, recipes


def reproduce(
    context: typer.Context,
    name: ask.Name = None,
    listed: ask.Listed = False,
    model: PaperModelOptions = PaperModelOptions(),
    on: ask.On = None,
    output: ask.Output = None,
    force: opt.Force = False,
    consent: ConsentOptions = ConsentOptions(),
    scope: ScopeOptions = ScopeOptions(),
    harness: HarnessOptions = HarnessOptions(),
    shipped: ShippedOptions = ShippedOptions(),
    measure: MeasureOptions = MeasureOptions(),
    reporting: Reporting = Reporting(),
) -> None:
    """Measure a paper's table or figure again, beside what was published.

    Shows published, measured and the difference, with what is known of a cell.

    Scores run through lmms-eval, costs as in todre bench, figures as in todre analyze.
    """
    if name is None or listed:
        check_beside(context, "A list of recipes", {"name", "listed", "json", "quiet", "verbose"})
        _list(reporting.json)
        return
    with usage():
        chosen = recipe(name)
    if on is not None and model.model is not None:
        raise typer.BadParameter(f"--on {on} and -m {model.model} are two models; give one.")
    if on is not None:
        ask.refuse_folder(on)
    used = USED[route_of(chosen.kind, on is not None)]
    check_beside(context, f"{chosen.name}{f' --on {on}' if on else ''}", ALWAYS | used)
    folder = output or Path(f"todre-{chosen.name}")
    if not consent.dry_run:
        _check_folder(chosen, folder, (model.model, measure.questions, harness.include_path), force)
    from todre.cli.reproduce_routes import follow

    follow(
        ReproduceConfig(
            recipe=chosen,
            on=on,
            folder=folder,
            force=force,
            model=model,
            consent=consent,
            scope=scope,
            harness=harness,
            shipped=shipped,
            measure=measure,
            reporting=reporting,
        )
    )


def _check_folder(chosen: Recipe, folder: Path, inputs: tuple[str | Path | None, ...], force: bool) -> None:
    """Raise, before any work, unless the result can be written.

    Unfinished work in the folder is no obstacle: it stays, and is resumed.
    """
    if not os.path.lexists(folder):
        check_folder(folder.parent)
        return
    check_folder(folder)
    written = {
        "radar": ("result.json", "table.md", f"{chosen.name}.png"),
        "attention": ("result.json", f"{chosen.name}.png"),
        "kept": ("result.json", f"{chosen.name}.png"),
    }
    names = written.get(chosen.kind, ("result.json", "table.md"))
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
