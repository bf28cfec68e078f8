"""Tables of `todre bench --serve`: throughput and latency by number of clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from todre.report import format_bytes

Row = dict[str, Any]
UNEVEN = 1.02
"""Ratio of two mean lengths of answers from which on the table says so."""


def load_table(rows: Sequence[Row], settings: dict[str, Any]) -> Table:
    """Table with one row for each configuration of a cell."""
    cell = rows[0]["cell"]
    clients = f"{cell['concurrency']} client{'s' if cell['concurrency'] > 1 else ''}"
    title = f"{clients}, {cell['requests']} requests a round, {settings['new_tokens']} new tokens"
    title += f", {cell['pictures']} pictures in turn" if cell["soak"] else f"; medians of {rows[0]['rounds']} rounds"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title=title, title_justify="left")
    table.title_style = ""
    table.add_column("configuration", overflow="fold", min_width=12)
    for heading in ("requests\n/s", "×", "tokens\n/s", "first token\np50 s", "\np95 s", "between\np50 ms", "\np95 ms",
                    "peak\nKV", "tower\nshare", "failed", "memory\nat end", "growth"):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["configuration"], *_rates(row), *_latencies(row), *_use(row), *_health(row))
    table.caption = (
        "×: requests/s over the first configuration's, round by round; between: two pieces of text;\n"
        f"growth: of the memory, from when every picture was there once to the end{_uneven(rows)}"
    )
    table.caption_justify = "left"
    return table


def _uneven(rows: Sequence[Row]) -> str:
    """A line about answers of unequal length, whose rates are not of equal work."""
    answered = {row["configuration"]: row["requests"] - row["failed"] for row in rows}
    lengths = {row["configuration"]: row["tokens"] / answered[row["configuration"]] for row in rows if row["tokens"]}
    if not lengths or max(lengths.values()) <= UNEVEN * min(lengths.values()):
        return ""
    named = ", ".join(f"{name} {length:.3g}" for name, length in lengths.items())
    return f"\nanswers end by themselves at other lengths (tokens: {named}): compare tokens/s, not requests/s"


def _median(spread: dict[str, float] | None, form: str = ".3g") -> str:
    return "–" if spread is None else format(spread["p50"], form)


def _rates(row: Row) -> list[str]:
    ratio = _median(row["ratio_to_baseline"], ".2f")
    return [_median(row["requests_per_second"]), ratio, _median(row["tokens_per_second"])]


def _latencies(row: Row) -> list[str]:
    first, between = row["ms"]["first_token"], row["ms"]["between_tokens"]
    return [
        *(["–", "–"] if first is None else [f"{first[key] / 1000:.3g}" for key in ("p50", "p95")]),
        *(["–", "–"] if between is None else [f"{between[key]:.3g}" for key in ("p50", "p95")]),
    ]


def _use(row: Row) -> list[str]:
    peak, share = row["peak_kv"], row["tower_share"]
    kv = "–" if peak is None else f"{100 * peak['share']:.1f} %" if "share" in peak else format_bytes(peak["bytes"])
    return [kv, "–" if share is None else f"{100 * share['p50']:.0f} %"]


def _health(row: Row) -> list[str]:
    resident, growth = row["resident_bytes"], (row.get("memory") or {}).get("growth")
    return [
        str(row["failed"]),
        "–" if resident is None else format_bytes(resident["end"]),
        "" if growth is None else f"{100 * growth:+.1f} %",
    ]
