"""The table of `todre eval`."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table


def evaluation_table(result: dict[str, Any]) -> Table:
    """The table of a `result.json`: one row for each method and budget.

    Scores and differences are in points of 100.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading in (
        "kept",
        "visual\ntokens",
        "layer\nmean",
        "score",
        "against\nno pruning",
        "retention\n%",
        "McNemar\np",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        against = row.get("against_none")
        draws = f" ({row['draws']} draws)" if row["draws"] > 1 else ""
        table.add_row(
            row["name"] + draws,
            _kept(row["retain"]),
            f"{row['visual_tokens']:.0f}",
            f"{row['layer_mean']:.0f}",
            _interval(row["score"]),
            _interval(against["difference"], signed=True) if against else "",
            _interval(against["retention"]) if against else "",
            _mcnemar(against["mcnemar"]) if against else "",
        )
    return table


def _kept(retain: float | None) -> str:
    if retain is None:
        return "–"
    return f"{100 * retain:g} %" if isinstance(retain, float) else str(retain)


def _interval(estimate: dict[str, Any], signed: bool = False) -> str:
    """A value and its interval in points of 100, such as `79.6 [78.1, 81.1]`."""
    if estimate["value"] is None:
        return "–"
    form = "+.1f" if signed else ".1f"
    value = format(100 * estimate["value"], form)
    if estimate["low"] is None:
        return value
    return f"{value} [{format(100 * estimate['low'], form)}, {format(100 * estimate['high'], form)}]"


def _mcnemar(tests: list[dict[str, Any]]) -> str:
    """The p of McNemar's test; empty for several draws, as each has its own p."""
    if len(tests) > 1:
        return ""
    p = tests[0]["p"]
    return "<0.0001" if p < 0.0001 else f"{p:.2g}"
