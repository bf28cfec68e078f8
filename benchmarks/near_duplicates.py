"""Near-duplicates and newline tokens in what methods keep, on the shipped model.

`python benchmarks/near_duplicates.py` writes `results/near-duplicates.json`; `--table FILE` shows one of its measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from todre import DivPrune, ToDRE
from todre.environment import versions
from todre.evaluate.batch_answers import encode, tensors
from todre.evaluate.runner import model_sha256
from todre.evaluate.statistics import Bootstrap
from todre.evaluate.tasks.scenes import scene_image
from todre.files import write_atomic
from todre.hf.keywords import IDS, MASK
from todre.loading.model import Loaded, load
from todre.methods.base import Method
from todre.methods.cls_top_k import CLSTopK
from todre.methods.random import RandomTokens
from todre.pruning import prune

RETAINS = (0.5, 0.25, 0.1, 0.05, 0.02)
ALIKE = 0.95
"""Cosine from which on two tokens count as near-duplicates."""
METHODS: dict[str, Callable[[float], Method]] = {
    "todre": lambda retain: ToDRE(retain=retain, stages=(1,)),
    "todre, newline tokens kept": lambda retain: ToDRE(retain=retain, stages=(1,), newlines="keep"),
    "todre-v1": lambda retain: ToDRE.v1(retain=retain, stages=(1,)),
    "divprune": lambda retain: DivPrune(retain=retain),
    "cls-top-k": lambda retain: CLSTopK(retain=retain),
    "random": lambda retain: RandomTokens(retain=retain),
}
MEASURES = ("near_duplicates", "newlines", "mean_cosine")


def measured(kept: Tensor, newline: Tensor) -> tuple[float, ...]:
    """Shares of the (k, d) kept tokens with a near-duplicate and of newline tokens.

    Returns:
        Both shares, and the mean cosine of two kept tokens.
    """
    unit = torch.nn.functional.normalize(kept.double(), dim=1)
    cosines = unit @ unit.T
    others = cosines.masked_fill(torch.eye(len(kept), dtype=torch.bool, device="cpu"), -1.0)
    pairs = max(len(kept) * (len(kept) - 1), 1)
    mean = (cosines.sum() - cosines.diagonal().sum()) / pairs
    return float((others.amax(dim=1) >= ALIKE).double().mean()), float(newline.double().mean()), float(mean)


def kept_by(loaded: Loaded, method: Method, pictures: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens (k, d) that `method` keeps of each picture, and (k,) bool for newlines."""
    model = loaded.model
    for number in range(pictures):
        pixels, (prompt,) = tensors(loaded, scene_image(number, 192), ["What is there?"])
        with torch.inference_mode(), prune(model, method) as report:
            tokens = encode(model, pixels)
            model(**{IDS: prompt[None], MASK: torch.ones_like(prompt)[None]}, **pixels)
        index = torch.tensor(report.kept[0], dtype=torch.int64, device="cpu")
        newline = (tokens == model.model.image_newline.to(tokens.dtype)).all(dim=1)
        yield tokens[index], newline[index]


def rows(loaded: Loaded, pictures: int, retains: Sequence[float]) -> Iterator[dict[str, Any]]:
    """A row for each method and budget, ready for JSON."""
    bootstrap = Bootstrap.over(range(pictures))
    for name, made in METHODS.items():
        for retain in retains:
            if "newline" in name and retain * 744 <= 24:
                continue
            values = np.array([measured(*kept) for kept in kept_by(loaded, made(retain), pictures)])
            row: dict[str, Any] = {"method": name, "retain": retain}
            for place, measure in enumerate(MEASURES):
                low, high = bootstrap.interval(values[:, place])
                row[measure] = {"value": float(values[:, place].mean()), "low": low, "high": high}
            yield row


def table(document: dict[str, Any], measure: str) -> str:
    """A Markdown table in percent, methods by budget."""
    from todre.reading.formats import pipe_table
    from todre.reading.tables import budget_text

    found = {(row["method"], row["retain"]): row[measure] for row in document["rows"]}
    retains = list(dict.fromkeys(retain for _, retain in found))
    rows = [[method, *(_cell(found.get((method, retain))) for retain in retains)] for method in METHODS]
    return pipe_table(["method", *map(budget_text, retains)], rows)


def _cell(numbers: dict[str, float] | None) -> str:
    if numbers is None:
        return ""
    value, low, high = (100 * numbers[name] for name in ("value", "low", "high"))
    return f"{value:.0f}" if round(low) == round(high) else f"{value:.0f} [{low:.0f}, {high:.0f}]"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="show a finished result in place of measuring")
    parser.add_argument("--measure", choices=MEASURES, default=MEASURES[0], help="what the table shows")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--output", type=Path, default=Path("results/near-duplicates.json"))
    options = parser.parse_args(arguments)
    if options.table is not None:
        sys.stdout.write(table(json.loads(options.table.read_text(encoding="utf-8")), options.measure))
        return 0
    torch.set_num_threads(1)
    loaded = load(None, device="cpu")
    document = {
        "what": "how alike the visual tokens are that methods keep",
        "command": f"python benchmarks/near_duplicates.py --pictures {options.pictures}",
        "conditions": {
            "model_sha256": model_sha256(None), "versions": versions(), "pictures": options.pictures, "split": "test",
            "size": 192, "near_duplicate_from_cosine": ALIKE, "intervals": "95 %, bootstrap over pictures",
        },
        "rows": list(rows(loaded, options.pictures, RETAINS)),
    }  # fmt: skip
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
