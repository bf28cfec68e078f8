"""A result as lines of a table: for people at a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.published import AVERAGE, SECONDS
from todre.reproduce.outcome import notes

HEADINGS = {
    AVERAGE: "average, %",
    SECONDS: "total time",
    "all_benchmarks": "all benchmarks",
    "flops_T": "FLOPs, T",
    "memory_GB": "memory, GB",
    "samples_per_second": "samples/s",
    "performance_percent": "performance, %",
    "flops_reduction_percent": "FLOPs saved, %",
    "memory_reduction_percent": "memory saved, %",
    "speedup": "times as fast",
}
"""Headings of columns that are not benchmarks."""
NONE = "–"
MARK = "*"
"""Mark behind a published number that has a note."""


@dataclass(frozen=True)
class Line:
    """One line of the table: a label, the source of the numbers, and the cells."""

    label: str
    who: str
    cells: tuple[str, ...]


def headings(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The headings of the columns."""
    return tuple(HEADINGS.get(name, name) for name in result["columns"])


def lines(result: Mapping[str, Any]) -> list[Line]:
    """The lines of the table: three for each row.

    Where numbers cannot be compared, a row has two lines, in percent of no pruning.
    """
    found = []
    for row in result["rows"]:
        shared = not result["comparable"] and row["method"] != "none" and not result["costs"]
        cells = row["shares" if shared else "cells"]
        unit = " %" if shared else ""
        found.append(_line(row["label"], "paper" + unit, cells, "published", result["columns"], shared))
        found.append(_line("", "here" + unit, cells, "measured", result["columns"], shared))
        if result["comparable"]:
            found.append(_line("", "difference", cells, "difference", result["columns"], shared))
    return found


def _line(label: str, who: str, cells: Mapping[str, Any], which: str, columns: Sequence[str], shared: bool) -> Line:
    texts = []
    for name in columns:
        text = _text(cells[name][which], name, signed=which == "difference", shared=shared)
        noted = which == "published" and cells[name]["note"] and text != NONE
        interval = cells[name].get("interval") if which == "measured" else None
        around = "" if interval is None else f" [{interval['low']:.0f}, {interval['high']:.0f}]"
        texts.append(text + (MARK if noted else "") + around)
    return Line(label, who, tuple(texts))


def _text(value: float | None, name: str, signed: bool, shared: bool) -> str:
    if value is None:
        return NONE
    if name == SECONDS and not shared:
        minutes, seconds = divmod(round(abs(value)), 60)
        sign = "-" if value < 0 else "+" if signed else ""
        return f"{sign}{minutes}:{seconds:02d}"
    if 0 < abs(value) < 0.1:
        return f"{value:+.2g}" if signed else f"{value:.2g}"
    return f"{value:+.1f}" if signed else f"{value:.1f}"


def markdown(result: Mapping[str, Any]) -> str:
    """The result as a page: what was run, the table, and the notes."""
    columns = headings(result)
    table = [
        f"| row | numbers | {' | '.join(columns)} |",
        f"|---|---|{'---:|' * len(columns)}",
        *(f"| {line.label} | {line.who} | {' | '.join(line.cells)} |" for line in lines(result)),
    ]
    stands = [f"* {name}: {what}" for name, what in result["benchmarks"].items()]
    remarks = [f"* {note}" for note in notes(result)]
    parts = [
        f"# {result['recipe']}: {result['title']}",
        f"{result['paper']}, beside {result['model']}.",
        result["statement"],
        "\n".join(table),
        *([f"{MARK} see the notes."] if any(MARK in line for line in table) else []),
        *(["## What each column was measured on", "\n".join(stands)] if stands else []),
        *(["## Notes", "\n".join(remarks)] if remarks else []),
        f"Made by `{result['command']}`; every number is in result.json.",
    ]
    return "\n\n".join(parts) + "\n"


def write(result: Mapping[str, Any], folder: Path) -> None:
    """Write `result.json` and `table.md`, each whole or not at all."""
    import json

    from todre.files import write_atomic

    write_atomic(folder / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_atomic(folder / "table.md", markdown(result))
