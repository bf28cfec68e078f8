"""The pages of `todre bench`: of measured costs, and of servers under load."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from todre.onepage.bench_charts import bench_charts, load_charts
from todre.onepage.conditions import conditions_of
from todre.onepage.pieces import Chart, Grid, Page


def bench_page(document: dict[str, Any], grids: Iterable[Grid]) -> Page:
    """The page of a document of `todre bench`.

    Args:
        document: the document, read whole.
        grids: its tables, as the command shows them.
    """
    return _page(document, grids, bench_charts(document))


def load_page(document: dict[str, Any], grids: Iterable[Grid]) -> Page:
    """The page of a document of `todre bench --serve`, as `bench_page` makes one."""
    return _page(document, grids, load_charts(document))


def _page(document: dict[str, Any], grids: Iterable[Grid], charts: Iterable[Chart]) -> Page:
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    weights = f"{model['weights']} weights, " if "weights" in model else ""
    reasons = tuple(f"{name}: {reason}" for name, reason in document["left_out"].items())
    command = {"command": document["command"]} if "command" in document else {}
    return Page(
        title=f"todre bench: {model['name']}",
        sentences=(f"{model['name']} ({weights}{model['dtype']}) on {where}.",),
        charts=tuple(charts),
        grids=tuple(grids),
        remarks=(("Left out", reasons),),
        samples=None,
        conditions=conditions_of(command, document["conditions"]),
    )
