"""Costs in answers of reduction in the tower before ToDRE, against ToDRE alone.

All leave as many tokens to the LLM. `python benchmarks/tower_accuracy.py` writes `results/tower-accuracy.json`; an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from todre import ToDRE
from todre.evaluate.conditions import NONE, Condition
from todre.evaluate.options import add_common, conditions_of_run, settings_from
from todre.evaluate.runner import run
from todre.evaluate.table import Table
from todre.files import write_atomic
from todre.methods.base import Method
from todre.methods.compose import Compose
from todre.methods.crop_skip import CropSkip
from todre.methods.evit import EViT
from todre.methods.tome import ToMe

COUNTS = (186, 74)
"""A quarter and a tenth of the 744 visual tokens of a picture."""

TOWERS: dict[str, Method] = {
    "tome 0.75": ToMe(retain=0.75),
    "tome 0.5": ToMe(retain=0.5),
    "evit 0.5": EViT(retain=0.5),
    "crop-skip 3 of 4": CropSkip(retain=3),
    "crop-skip 2 of 4": CropSkip(retain=2),
}


def conditions(counts: Sequence[int]) -> list[Condition]:
    """Conditions: no pruning, and ToDRE at each count alone and after each method."""
    found = [NONE]
    for count in counts:
        last = ToDRE(retain=count)
        found.append(Condition(f"todre@{count}", last))
        found += [Condition(f"{name} + todre@{count}", Compose(tower, last)) for name, tower in TOWERS.items()]
    return found


def summary(table: Table, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Means, tokens into the LLM, and differences to ToDRE alone, ready for JSON."""
    rows: list[dict[str, Any]] = [{"tower": None, "tokens": None, "all": table.mean(table.scores("none"))}]
    for count in counts:
        alone = f"todre@{count}"
        for tower in (None, *TOWERS):
            name = alone if tower is None else f"{tower} + {alone}"
            row: dict[str, Any] = {"tower": tower, "tokens": count, "all": table.mean(table.scores(name))}
            row["entered"] = sorted({record["visual_tokens"] for record in table.records[name]})
            row["tasks"] = {task: each["score"] for task, each in table.by_task(table.scores(name)).items()}
            row["minus_none"] = table.difference([name], ["none"])
            if tower is not None:
                row["minus_todre_alone"] = table.difference([name], [alone])
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer, compare, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common(parser, pictures=248)
    parser.add_argument("--tokens", type=int, nargs="+", default=list(COUNTS), help="left to the LLM")
    parser.add_argument("--output", type=Path, default=Path("results/tower-accuracy.json"))
    options = parser.parse_args(arguments)
    settings = settings_from(options)
    answers = run(settings, conditions(options.tokens), options.pictures, options.work, processes=options.processes)
    table = Table.of(answers.by_condition, seed=options.seed)
    document = {
        "what": "accuracy on held-out scenes with fewer tokens or crops inside the vision tower, before ToDRE",
        "command": " ".join(["python benchmarks/tower_accuracy.py", *(arguments or sys.argv[1:])]),
        "conditions": {
            **conditions_of_run(settings, options, table),
            "towers": {name: method.to_dict() for name, method in TOWERS.items()},
            "core_seconds": round(answers.core_seconds, 1),
        },
        "rows": summary(table, options.tokens),
    }
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
