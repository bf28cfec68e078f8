"""Tables of `todre bench`: measured values beside bounds and published values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from todre.flops.words import format_flops

Row = dict[str, Any]
_STAGES = {
    "encode": "encode",
    "select": "select",
    "prefill": "prefill",
    "first_token": "first\ntoken",
    "decode_per_token": "per\ntoken",
    "total": "total",
}


def measured_table(rows: Sequence[Row]) -> Table:
    """Table with one row for each subject of a cell; milliseconds are medians."""
    cell, before = rows[0]["cell"], rows[0]["visual_tokens"]["before"]
    title = (
        f"batch {cell['batch']}, {cell['text_tokens']} text tokens, {before} visual tokens, "
        f"{cell['new_tokens']} new tokens, {cell['backend']}, {cell['threads']} threads; "
        f"milliseconds, medians of {rows[0]['rounds']} rounds"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title=title, title_justify="left")
    table.title_style = ""
    table.add_column("subject", overflow="fold", min_width=18)
    compared = ("first\n×", "decode\n×", "memory\n×")
    for heading in ("visual\ntokens", *_STAGES.values(), *compared, "peak\nMiB", "KV\nMiB", "FLOPs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        name = "  its oracle" if row["kind"] == "oracle" else row["subject"]
        table.add_row(name, _tokens(row), *_stages(row), *_ratios(row), *_sizes(row))
    table.caption = (
        "×: over the oracle (the hand-shortened prompt), round by round; over none where nothing is dropped\n"
        "memory: peak beyond weights, over the oracle's, or what the model takes before its decoder, if that is more"
    )
    table.caption_justify = "left"
    return table


def _tokens(row: Row) -> str:
    tokens = row["visual_tokens"]
    last = tokens["per_layer"][-1]
    return f"{tokens['entered']}" if last == tokens["entered"] else f"{tokens['entered']}→{last}"


def _stages(row: Row) -> list[str]:
    return ["–" if row["ms"][key] is None else _short(row["ms"][key]["p50"]) for key in _STAGES]


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratios(row: Row) -> list[str]:
    compared = row["ratio_to_oracle"] or {}
    times = [compared.get(key) for key in ("first_token", "decode_per_token")]
    memory = row["memory_ratio_to_oracle"]
    ratios = ["" if one is None else f"{one['p50']:.3f}" for one in times]
    return [*ratios, "" if memory is None else f"{memory['floor']:.3f}"]


def _sizes(row: Row) -> list[str]:
    peak, flops = row["peak_bytes"], row["flops"]
    return [
        "–" if peak is None else _short(peak["above"] / 2**20),
        _short(row["kv_bytes"]["measured"] / 2**20),
        "–" if flops is None else format_flops(flops["total"]),
    ]


def published_table(rows: Sequence[Row], name: str, certain: bool) -> Table:
    """A table of the paper, with published values beside measured ones.

    Each value is followed by its share of the value without pruning. A row that was not measured, as its method refused
    the model, has none.
    """
    from todre.bench.published import columns, table

    printed = table(name)
    by_name = {row["subject"]: row for row in rows}
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=printed.title, title_justify="left", title_style="")
    shown.add_column("row")
    costs = columns(name)
    for cost in costs:
        for who in ("published", "measured"):
            shown.add_column(f"{cost.heading}\n{who}", justify="right", no_wrap=True)
    base = by_name["none"], printed.rows[0].values
    for one in printed.rows:
        subject = one.subject(certain)
        row = by_name.get("none" if subject is None else subject.name)
        cells = []
        for cost in costs:
            cells.append(_beside(one.values[cost.key], base[1][cost.key]))
            cells.append(_beside(None if row is None else cost.measure(row), cost.measure(base[0])))
        shown.add_row(one.label, *cells)
    return shown


def _beside(value: float | None, whole: float | None) -> str:
    if value is None or not whole:
        return "–"
    return f"{value:.3g} ({value / whole:.2f}×)"


def check_table(rows: Sequence[Row]) -> Table:
    """Table of what --check found: one row for each backend and dtype."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("backend", "keep all: same bits", "to the hand-shortened", "to float32", "verdict"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        if "left_out" in row:
            table.add_row(row["name"], "", "", "", f"not here: {row['left_out']}")
            continue
        verdict = "right" if row["ok"] else "WRONG"
        table.add_row(
            row["name"], "yes" if row["keep_all"] else "NO", f"{row['oracle']:.1e}", f"{row['float32']:.1e}", verdict
        )
    return table
