"""Tables of docs/auto.md in Markdown, from what `guard_documents.py` and `budget_boards.py` measured, by name.

python benchmarks/guard_tables.py budgets     automatic and fixed budgets on scenes and on documents
python benchmarks/guard_tables.py guard       what a guard that was fitted on other pictures does there
python benchmarks/guard_tables.py signals     how each signal goes with the loss
python benchmarks/guard_tables.py boards      what the guard changes for each method on the boards of budgets
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured_tables import print_table

from todre.reading.formats import interval_text, markdown_text, pipe_table
from todre.reading.results import Interval

RESULTS = Path(__file__).resolve().parents[1] / "results"
KINDS = {"scenes": "scenes", "pages": "documents"}
GUARDED = "todre@0.1"
"""The condition that a guard was put on."""


def read(name: str = "guard-smol") -> dict[str, Any]:
    """A committed result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def text(numbers: dict[str, float], signed: bool = True) -> str:
    """Text of a value with its interval, in points, with a true minus sign."""
    interval = Interval(numbers["value"], numbers["low"], numbers["high"])
    return interval_text(interval, signed).replace("-", "−")


def label(row: dict[str, Any]) -> str:
    """A row's method and budget, as a condition is called."""
    return str(row["name"]) if row["retain"] is None else f"{row['name']}@{row['retain']:g}"


def budgets() -> str:
    """Tokens and points of each budget, on both kinds of pictures."""
    plain = read()["plain"]
    rows = {kind: {label(row): row for row in plain[kind]["rows"]} for kind in KINDS}
    lines = []
    for name in sorted(rows["scenes"], key=lambda name: -rows["scenes"][name]["visual_tokens"]):
        cells = []
        for found in rows.values():
            row, tokens = found[name], found["none"]["visual_tokens"]
            score = text(row["score"], signed=False) if name == "none" else text(row["against_none"]["difference"])
            cells += [f"{row['visual_tokens']:.0f} ({100 * row['visual_tokens'] / tokens:.0f} %)", score]
        lines.append([markdown_text(name), *cells])
    heads = [head for kind in KINDS.values() for head in (f"visual tokens, {kind}", f"{kind}, points")]
    return pipe_table(["", *heads], lines)


def guard() -> str:
    """Loss without the guard and with it, the share of guarded answers, and tokens."""
    document = read()
    lines = []
    for kind, heading in KINDS.items():
        plain, guarded = (_row(document[name][kind]) for name in ("plain", "guarded"))
        share = document["guarded"][kind]["guarded"]["share"]
        tokens = f"{plain['visual_tokens']:.0f} → {guarded['visual_tokens']:.0f}"
        lines.append([
            heading, f"{document['plain'][kind]['questions']:,}", text(plain["against_none"]["difference"]),
            text(guarded["against_none"]["difference"]), f"{100 * share:.1f} %", tokens,
        ])  # fmt: skip
    return pipe_table(["", "questions", "a tenth kept", "with the guard", "left whole", "visual tokens"], lines)


def _row(result: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in result["rows"] if label(row) == GUARDED)


def signals() -> str:
    """Spearman's correlation of each signal with the loss."""
    lines = []
    for name, curve in read()["fit"]["signals"].items():
        found = curve["correlation"]
        if found is None or found["r"] is None:
            lines.append([f"`{name}`", "not defined"])
            continue
        edges = ", ".join(f"{found[edge]:.2f}" for edge in ("low", "high"))
        lines.append([f"`{name}`", f"{found['r']:.2f} [{edges}]".replace("-", "−")])
    return pipe_table(["signal", "correlation with the loss"], lines)


def boards() -> str:
    """Loss with a tenth without the guard and with it, by method, on both boards."""
    lines = []
    for kind in ("scenes", "documents"):
        plain, guarded = (
            {label(row): row for row in read(f"budgets-{name}")["rows"]} for name in (kind, f"{kind}-guarded")
        )
        every = plain["none"]["visual_tokens"]
        for name in [name for name in guarded if name != "none"]:
            before, after = (rows[name]["visual_tokens"] for rows in (plain, guarded))
            whole = (after - before) / (every - before)  # a picture keeps its tenth or everything
            losses = [text(rows[name]["against_none"]["difference"]) for rows in (plain, guarded)]
            tokens = f"{before:.0f} → {after:.0f}"
            lines.append([kind, markdown_text(str(guarded[name]["name"])), *losses, f"{100 * whole:.1f} %", tokens])
    return pipe_table(["", "method", "a tenth kept", "with the guard", "left whole", "visual tokens"], lines)


TABLES: dict[str, Callable[[], str]] = {made.__name__: made for made in (budgets, guard, signals, boards)}


def main(arguments: list[str] | None = None) -> int:
    """Print one table; returns the exit code."""
    return print_table(sys.argv[1:] if arguments is None else arguments, TABLES)


if __name__ == "__main__":
    sys.exit(main())
