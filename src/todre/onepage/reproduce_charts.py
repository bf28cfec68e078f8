"""Plots of tables of `todre reproduce`: the paper's shares beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from todre.onepage.charts import Record, Tip, chart, dots, interval_tips
from todre.onepage.pieces import Chart
from todre.published import AVERAGE
from todre.reproduce.pages import HEADINGS

MOST_COLUMNS = 6
"""Most columns that are drawn; the table has all of them."""
PAPER, HERE = "paper", "here"
_TIPS: tuple[Tip, ...] = (("row", "N", "row"), ("name", "N", "numbers"), *interval_tips("% of no pruning"))


def reproduce_charts(document: dict[str, Any]) -> Iterator[Chart]:
    """The average of each row, or the first columns of a table that has none."""
    columns = [AVERAGE] if AVERAGE in document["columns"] else document["columns"][:MOST_COLUMNS]
    left = 0 if columns == [AVERAGE] else len(document["columns"]) - len(columns)
    more = f" The table has {left} more column{'s' if left > 1 else ''}." if left else ""
    for column in columns:
        records = list(_records(document, column))
        if records:
            heading = HEADINGS.get(column, column)
            yield chart(
                f"The paper's numbers and ours: {heading.removesuffix(', %')}",
                "In percent of no pruning. Bars are 95 % intervals, where they were measured; the numbers stand under "
                f"the pointer and in the table.{more}",
                dots(records, "% of no pruning", (PAPER, HERE), _TIPS),
            )


def _records(document: dict[str, Any], column: str) -> Iterator[Record]:
    names: dict[str, int] = {}
    for row in document["rows"]:
        count = names[row["label"]] = names.get(row["label"], 0) + 1
        label = row["label"] if count == 1 else f"{row['label']} ({count})"
        share = row["shares"][column]
        for name, which in ((PAPER, "published"), (HERE, "measured")):
            edges = (share.get("interval") or {}) if which == "measured" else {}
            if share[which] is not None:
                yield {
                    "row": label, "name": name, "value": share[which], "low": edges.get("low"),
                    "high": edges.get("high"),
                }  # fmt: skip
