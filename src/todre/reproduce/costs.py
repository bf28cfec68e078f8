"""Tables of cost: FLOPs, memory and throughput, measured as in `todre bench`."""

from __future__ import annotations

from collections.abc import Callable
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


def measured(
    table: Table,
    loaded: Loaded,
    rounds: int,
    folder: Path,
    command: str,
    tick: Callable[[str], None],
    anew: bool = False,
) -> tuple[list[Measured | None], list[str], dict[str, Any]]:
    """The measured costs of a table's rows.

    Returns (values of each row, reason for each row without values, conditions). The document of `todre bench` stays in
    the folder, and goes on where it was stopped; one that is finished is not measured again.

    Args:
        table: a table of kind `efficiency`.
        loaded: the model.
        rounds: how often each row is measured, in turn with the others.
        folder: folder of the reproduction.
        command: the typed command.
        tick: function that is called with a text on what is measured next.
        anew: whether to begin again, whatever the folder holds. What it held stays until the first row is there.
    """
    from todre.bench.run import Source, run

    costs = costs_of(table.id)
    settings = replace(Settings(), new_tokens=(costs.new_tokens,), rounds=rounds, oracle=False)
    document = run(
        Source(loaded.model, loaded), costs.subjects(certain=False), settings.cells(), settings.how_often(),
        output=folder / "bench.json", resume=not anew, leave_out=True, command=command, extra={"table": table.id},
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
