"""Plots of documents of `todre bench` and of load runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from todre.onepage.charts import Record, Tip, chart, dots, interval_tips
from todre.onepage.pieces import Chart

MOST_CELLS = 6
"""Most cells that are drawn; the tables have all of them."""
_STAGES = {"first_token": "first token", "total": "whole answer"}
_SPREAD = interval_tips("median", "20 % of rounds are below", "80 % of rounds are below")
_CAPTION = "Medians, with bars from the 20 % to the 80 % quantile of rounds; the numbers stand under the pointer."


def bench_charts(document: dict[str, Any]) -> Iterator[Chart]:
    """Times of each subject, in seconds and in shares of no pruning, cell by cell."""
    finished = document["finished"][:MOST_CELLS]
    left = len(document["finished"]) - len(finished)
    more = f" The tables have {left} more cell{'s' if left > 1 else ''}." if left else ""
    for number, cell in enumerate(finished, 1):
        rows = [row for row in document["rows"] if row["asked"] == cell]
        of = _of(rows[0]["cell"]) if len(finished) > 1 else ""
        for title, across, records in (
            ("Time", "seconds", list(_times(rows, "ms", 0.001))),
            ("Time beside no pruning", "% of no pruning's, round by round", list(_times(rows, "ratio_to_none", 100.0))),
        ):
            tips: tuple[Tip, ...] = (
                ("row", "N", "subject"), ("name", "N", "until"), *_SPREAD, ("tokens", "Q.0f", "visual tokens entered"),
            )  # fmt: skip
            where = f" of cell {number}{of}" if len(finished) > 1 else ""
            yield chart(
                f"{title}{where}", _CAPTION + more, dots(records, across, list(_STAGES.values()), tips, zero=True)
            )


def load_charts(document: dict[str, Any]) -> Iterator[Chart]:
    """Requests a second of each configuration, by number of clients."""
    records: list[Record] = []
    clients = []
    for cell in document["finished"]:
        name = f"{cell['concurrency']} client{'s' if cell['concurrency'] > 1 else ''}"
        name += ", soak" if cell["soak"] else ""
        clients.append(name)
        for row in document["rows"]:
            spread = row["requests_per_second"]
            if row["cell"] == cell and spread is not None:
                records.append({"row": row["configuration"], "name": name, **_edges(spread, 1.0)})
    if records:
        names = list(dict.fromkeys(clients))
        tips: tuple[Tip, ...] = (("row", "N", "configuration"), ("name", "N", "clients"), *_SPREAD)
        yield chart("Requests a second", _CAPTION, dots(records, "requests a second", names, tips, zero=True))


def _times(rows: Sequence[dict[str, Any]], key: str, scale: float) -> Iterator[Record]:
    """A record of each subject and stage."""
    for row in rows:
        for stage, name in _STAGES.items():
            spread = row[key][stage]
            if spread is not None:
                tokens = row["visual_tokens"]["entered"]
                yield {"row": row["subject"], "name": name, "tokens": tokens, **_edges(spread, scale)}


def _edges(spread: dict[str, float], scale: float) -> dict[str, float]:
    return {name: spread[edge] * scale for name, edge in (("value", "p50"), ("low", "p20"), ("high", "p80"))}


def _of(cell: dict[str, Any]) -> str:
    """Words on a cell."""
    threads = f"{cell['threads']} thread{'s' if cell['threads'] > 1 else ''}"
    return f": batch {cell['batch']}, {cell['new_tokens']} new tokens, {cell['backend']}, {threads}"
