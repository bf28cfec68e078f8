"""Showing of `todre bench`'s documents: tables, JSON and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.cli.console import note, show, show_json, show_text
from todre.cli.options import Reporting
from todre.errors import InvalidValueError
from todre.files import new_folder

if TYPE_CHECKING:
    import torch

    from todre.bench.document import Document


def show_earlier(earlier: Path, plots: Path | None, reporting: Reporting) -> None:
    """Show, and draw, a document that an earlier run wrote."""
    from todre.bench.document import BENCH, read
    from todre.bench.load.document import LOAD, is_of_load
    from todre.bench.load.document import read as read_load
    from todre.files import Kind, making_sense, read_json

    found = read_json(earlier, Kind(BENCH.hint))
    of_load = is_of_load(found)
    document = read_load(earlier) if of_load else read(earlier, whole=True)
    with making_sense(earlier, LOAD if of_load else BENCH):
        show_document(document, plots, reporting)


def show_document(document: Document, plots: Path | None, reporting: Reporting) -> None:
    """Draw the figures, and show the document: as JSON with --json, else as tables."""
    from todre.bench.load.document import is_of_load

    if plots is not None:
        new_folder(plots)
        for file in _draw(document, plots):
            note(f"wrote {file}", reporting.quiet)
    if reporting.json:
        show_json(document)
        return
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    show_text(f"{model['name']} ({model['weights']} weights, {model['dtype']}) on {where}")
    if is_of_load(document):
        _show_load(document)
    else:
        _show_cells(document)
    for name, reason in document["left_out"].items():
        show_text(f"{name} does not apply here: {reason}")


def _draw(document: Document, plots: Path) -> list[Path]:
    from todre.bench.load.document import is_of_load
    from todre.plots.bench import draw_all
    from todre.plots.bench_load import draw_load

    if not is_of_load(document):
        return list(draw_all(document, plots))
    file = draw_load(document, plots)
    return [] if file is None else [file]


def _show_cells(document: Document) -> None:
    from todre.cli.bench_tables import measured_table, published_table

    conditions = document["conditions"]
    for cell in document["finished"]:
        rows = [row for row in document["rows"] if row["asked"] == cell]
        show(measured_table(rows))
        if conditions.get("table"):
            show(published_table(rows, conditions["table"], conditions["model"]["weights"] == "random"))


def _show_load(document: Document) -> None:
    from todre.cli.bench_serve_tables import load_table

    for cell in document["finished"]:
        rows = [row for row in document["rows"] if row["cell"] == cell]
        show(load_table(rows, document["conditions"]["settings"]))


def show_checks(rows: list[dict[str, Any]], device: torch.device, output: Path | None, json: bool) -> None:
    """Show what --check found on a device; raise if pruning is wrong somewhere."""
    from todre.bench.conditions import record_checks
    from todre.cli.bench_tables import check_table

    document = record_checks(rows, device, output)
    if json:
        show_json(document)
    else:
        show(check_table(rows))
    wrong = [row["name"] for row in rows if row.get("ok") is False]
    if wrong:
        raise InvalidValueError(f"Pruning is not right with {', '.join(wrong)}; do not use it there, and report it.")
