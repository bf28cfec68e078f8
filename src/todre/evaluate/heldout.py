"""Compare pruning methods on held-out scenes: `python -m todre.evaluate.heldout`.

Every method answers the same questions of the `test` split, which nothing was tuned on. Writes one JSON document, all
answers beside it, and a page made from them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from todre.errors import TodreError
from todre.evaluate.conditions import Condition, comparison, label
from todre.evaluate.options import add_common, conditions_of_run, settings_from
from todre.evaluate.runner import run
from todre.evaluate.session import Settings
from todre.evaluate.table import Table
from todre.files import write_atomic
from todre.reading.result_pages import page

RETAINS = (0.25, 0.10, 0.05)
METHODS = ("todre", "todre-v1", "random", "cls-top-k")
PAIRS = (
    ("todre-v1", "todre"),
    ("todre", "random"),
    ("todre-v1", "random"),
    ("cls-top-k", "random"),
    ("todre", "cls-top-k"),
    ("todre-v1", "cls-top-k"),
)


@dataclass(frozen=True)
class Row:
    """A method at one budget, with one condition, or one for each seed."""

    method: str
    retain: float | None
    stages: str
    names: tuple[str, ...]


def rows_of(retains: Sequence[float], seeds: Sequence[int], stage_one: bool = False) -> list[Row]:
    """Rows of the result, in order."""
    rows = [Row("none", None, "", ("none",))]
    for retain in retains:
        for method in METHODS:
            names = [label(method, retain, seed) for seed in seeds] if method == "random" else [label(method, retain)]
            rows.append(Row(method, retain, "both" if method.startswith("todre") else "", tuple(names)))
        for method in ("todre", "todre-v1") if stage_one else ():
            rows.append(Row(method, retain, "1", (label(method, retain, stage_one=True),)))
    return rows


def summarise(table: Table, conditions: Sequence[Condition], retains: Sequence[float], seeds: Sequence[int]) -> Any:
    """Means, per-task means, paired comparisons and stage-2 counts, ready for JSON."""
    fields = {condition.name: condition.to_dict() for condition in conditions}
    results = []
    stage_one = label("todre", retains[0], stage_one=True) in fields
    for row in rows_of(retains, seeds, stage_one):
        scores = table.scores(*row.names)
        result: dict[str, Any] = {"method": row.method, "retain": row.retain, "stages": row.stages}
        result["fields"] = [fields[name] for name in row.names]
        result["visual_tokens"] = sorted({r["visual_tokens"] for name in row.names for r in table.records[name]})
        result["all"] = table.mean(scores)
        result["tasks"] = table.by_task(scores)
        if row.retain is not None:
            result["against_none"] = table.difference(row.names, ["none"])
        if row.stages == "both":
            result["stage_2"] = table.stage_two(row.names[0])
        results.append(result)
    named = {(row.method, row.retain): row.names for row in rows_of(retains, seeds)}
    pairs = [
        {"first": a, "second": b, "retain": retain, **table.difference(named[a, retain], named[b, retain])}
        for retain in retains
        for a, b in PAIRS
    ]
    return {"rows": results, "pairs": pairs}


def answers_file(table: Table) -> str:
    """Text of the answers file: a line of condition names, then a line per question."""
    names = list(table.records)
    lines = [json.dumps({"conditions": names})]
    for place, question in enumerate(table.questions):
        line = {key: question[key] for key in ("picture", "task", "question", "answer")}
        line["predictions"] = [table.records[name][place]["prediction"] for name in names]
        line["scores"] = [round(table.records[name][place]["score"], 4) for name in names]
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.evaluate.heldout", description=__doc__)
    add_common(parser, pictures=248)
    parser.add_argument("--retain", type=float, nargs="+", default=list(RETAINS), help="kept shares")
    parser.add_argument("--random-seeds", type=int, default=3, help="draws of the random control")
    parser.add_argument("--stage-one", action="store_true", help="add ToDRE's stage 1 alone")
    parser.add_argument("--output", type=Path, default=Path("results/heldout.json"))
    parser.add_argument("--answers", type=Path, default=Path("results/heldout-answers.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    return parser.parse_args(arguments)


def compare(settings: Settings, flags: argparse.Namespace, command: str) -> dict[str, Any]:
    """The document of a comparison; also writes document, answers and page to files."""
    started = time.monotonic()
    seeds = list(range(flags.random_seeds))
    conditions = comparison(flags.retain, seeds, flags.stage_one)
    answers = run(settings, conditions, flags.pictures, flags.work, processes=flags.processes)
    table = Table.of(answers.by_condition, seed=flags.seed)
    document = {
        "what": "accuracy of pruning methods on held-out scenes",
        "command": command,
        "conditions": {
            **conditions_of_run(settings, flags, table),
            "random_seeds": seeds,
            "core_seconds": round(answers.core_seconds, 1),
            "wall_seconds": round(time.monotonic() - started, 1),
        },
        **summarise(table, conditions, flags.retain, seeds),
    }
    for path in (flags.output, flags.answers, flags.page):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(flags.answers, answers_file(table))
    write_atomic(flags.output, json.dumps(document, indent=1) + "\n")
    write_atomic(flags.page, page(document, flags.output.name, flags.answers.name))
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    flags = parse(arguments)
    console = Console(stderr=True)
    command = " ".join(["python -m todre.evaluate.heldout", *(arguments if arguments is not None else sys.argv[1:])])
    try:
        compare(settings_from(flags), flags, command)
    except TodreError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    console.print(f"wrote {flags.output}, {flags.answers} and {flags.page}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
