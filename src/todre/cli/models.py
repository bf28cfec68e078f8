"""`todre models`: which architectures are verified, and why others are refused."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from todre.cli import options as opt
from todre.cli.console import show, show_json, show_text


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only model types whose name contains this, such as qwen.")
    ] = None,
    json: opt.Json = False,
) -> None:
    """List the architectures: verified, or refused with the reason.

    What verified means is listed below the table.
    """
    from todre.catalog import CHECKS, rows
    from todre.shipped import brought

    chosen = [
        row for row in rows() if name is None or name.lower().replace("-", "_") in row.model_type.replace("-", "_")
    ]
    if not chosen:
        raise typer.BadParameter(f"no architecture's name holds {name!r}; `todre models` lists them all.")
    if json:
        show_json([row.to_dict() for row in chosen])
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model type", no_wrap=True)
    for heading in ("status", "media", "saliency"):
        table.add_column(heading, no_wrap=True)
    table.add_column("note")
    for row in chosen:
        table.add_row(row.model_type, row.status, row.media or "–", row.saliency or "–", row.note)
    show(table)
    verified = sum(row.status == "verified" for row in chosen)
    show_text(
        f"{verified} verified, {len(chosen) - verified} refused. Verified, on tiny random models in float32, means:"
    )
    for check in CHECKS:
        show_text(f"  - {check}")
    for model in brought():
        if model.model_type in {row.model_type for row in chosen}:
            show_text(f"{model.name} {model.arrives}: {model.model_type}, {model.media}.")
