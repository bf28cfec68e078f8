"""Tables of cost: FLOPs, memory and throughput, measured as in `todre bench`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.bench.published import columns
from todre.bench.published import table as costs_of
from todre.bench.settings import Settings
from todre.published import Table
from todre.reproduce.outcome import Measured

if TYPE_CHECKING:
    from todre.loading.model import Loaded

_DOCUMENT = "bench.json"


@contextmanager
def anew(folder: Path) -> Iterator[None]:
    """Let costs be measured anew inside the block, whatever the folder holds of them.

    What it held comes back if nothing was measured.
    """
    file, aside = folder / _DOCUMENT, folder / f".{_DOCUMENT}.earlier"
    if file.is_file():
        os.replace(file, aside)
    try:
        yield
    finally:
        if file.exists():
            aside.unlink(missing_ok=True)
        elif aside.exists():
            os.replace(aside, file)


def measured(
    table: Table, loaded: Loaded, rounds: int, folder: Path, command: str, tick: Callable[[str], None]
) -> tuple[list[Measured | None], list[str], dict[str, Any]]:
    """The measured costs of a table's rows.

    Returns (values of each row, reason for each row without values, conditions). The document of `todre bench` stays in
    the folder, and is not measured again, unless inside `anew`.

    Args:
        table: a table of kind `efficiency`.
        loaded: the model.
        rounds: how often each row is measured, in turn with the others.
        folder: folder of the reproduction.
        command: the typed command.
        tick: function that is called with a text on what is measured next.
    """
    from todre.bench.run import Source, run

    costs = costs_of(table.id)
    settings = replace(Settings(), new_tokens=(costs.new_tokens,), rounds=rounds, oracle=False)
    document = run(
        Source(loaded.model, loaded), costs.subjects(certain=False), settings.cells(), settings.how_often(),
        output=folder / _DOCUMENT, resume=True, leave_out=True, command=command, extra={"table": table.id},
        tick=tick,
    )  # fmt: skip
    by_name = {row["subject"]: row for row in document["rows"] if row["kind"] != "oracle"}
    subjects = [row.subject(certain=False) for row in costs.rows]
    names = ["none" if one is None else one.name for one in subjects]
    values = [values_of(by_name.get(name), by_name["none"], table.id) for name in names]
    return values, [document["left_out"].get(name, "") for name in names], document["conditions"]


def values_of(row: dict[str, Any] | None, none: dict[str, Any], name: str) -> Measured | None:
    """Measured values of a row by name, and changes relative to no pruning.

    The speed-up is the median over rounds, in each of which a row is compared with no pruning of the same round.

    Args:
        row: row of `todre bench`; None where there is none.
        none: the row without pruning.
        name: the table's name.
    """
    if row is None:
        return None
    found = {cost.key: cost.measure(row) for cost in columns(name)}
    before = {cost.key: cost.measure(none) for cost in columns(name)}
    values = {key: value for key, value in found.items() if value is not None}
    if row is none:
        return values
    for key, change in (("flops_T", "flops_reduction_percent"), ("memory_GB", "memory_reduction_percent")):
        whole = before[key]
        if key in values and whole:
            values[change] = 100 * (1 - values[key] / whole)
    if "samples_per_second" in values:
        values["speedup"] = 1 / row["ratio_to_none"]["total"]["p50"]
    return values
