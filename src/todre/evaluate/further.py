"""Measure the model trained on clips: `python -m todre.evaluate.further`.

Several pictures and clips under methods and budgets, the same questions with grey pictures, the best constant answer,
and single pictures before and after the training on clips. The numbers come from runs of `todre eval`; a stopped
measurement continues where it was stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from todre.evaluate.conditions import NONE, label
from todre.evaluate.engine import run
from todre.evaluate.eval_config import EvalConfig
from todre.evaluate.grid import grid
from todre.evaluate.group_answers import Asker
from todre.evaluate.metrics import mark
from todre.evaluate.statistics import wilson
from todre.evaluate.tasks import SEVERAL, Item
from todre.files import write_atomic
from todre.tiny import SHIPPED, SHIPPED_VIDEO

METHODS = ("todre", "random")
RETAINS = (0.25, 0.1)


def measure(model: str, limit: int, single: int, draws: int, work: Path) -> dict[str, Any]:
    """The document of results, from runs whose folders are made under `work`.

    Args:
        model: name or folder of the model that was trained further.
        limit: questions of each task on several pictures and clips.
        single: questions of each task on single pictures.
        draws: number of draws of the random method.
        work: folder of the runs.
    """
    work.mkdir(parents=True, exist_ok=True)
    config = EvalConfig(
        tasks=SEVERAL, model=model, limit=limit, device="cpu", dtype="float32", group_size=8, batch_size=16
    )
    ran = run(config, grid(METHODS, RETAINS, draws), work / "new").result
    singles = {}
    for name, path in ((SHIPPED, None), (SHIPPED_VIDEO, model)):
        scenes = EvalConfig(tasks=("scenes",), model=path, limit=single, device="cpu", dtype="float32", batch_size=16)
        singles[name] = run(scenes, grid((), ()), work / name).result
    items = config.items()
    grey = blind(config, items)
    tasks = {}
    for name in SEVERAL:
        mine = [place for place, item in enumerate(items) if item.task == name]
        answers = Counter(items[place].references[0] for place in mine)
        constant, times = answers.most_common(1)[0]
        tasks[name] = {
            "n": len(mine),
            "rows": {_label(row): row["tasks"][name] for row in ran["rows"]},
            "blind": _share([grey[place] for place in mine]),
            "constant": {"answer": constant, "value": times / len(mine)},
        }
    return {
        "what": "the model trained further, on several pictures and clips, and on single pictures before and after",
        "conditions": ran["conditions"] | {"machine": platform.machine(), "draws": draws},
        "tasks": tasks,
        "rows": [{key: value for key, value in row.items() if key != "tasks"} for row in ran["rows"]],
        "single": {
            name: {"model_sha256": each["conditions"]["model_sha256"], "questions": each["questions"]}
            | {key: each["rows"][0][key] for key in ("score", "tasks")}
            for name, each in singles.items()
        },
    }


def blind(config: EvalConfig, items: Sequence[Item]) -> list[float]:
    """Marks of all items when each picture is plain grey."""
    grey = [replace(item, media=tuple(functools.partial(_grey, opened) for opened in item.media)) for item in items]
    replies, _ = Asker(config.load(), [grey], config.batch_size).answer(0, NONE)
    return [mark(item.metric, each[0], item.references) for item, each in zip(items, replies, strict=True)]


def _label(row: dict[str, Any]) -> str:
    return str(row["name"]) if row["retain"] is None else label(row["name"], row["retain"])


def _grey(opened: Any) -> Image.Image:
    return Image.new("RGB", opened().size, (128, 128, 128))


def _share(marks: Sequence[float]) -> dict[str, float]:
    right = round(sum(marks))
    found = wilson(right, len(marks))
    return {"value": right / len(marks), "low": found.low, "high": found.high}


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m todre.evaluate.further", description=__doc__)
    parser.add_argument("-m", "--model", default=SHIPPED_VIDEO, help="name or folder of the model")
    parser.add_argument("--limit", type=int, default=100, help="questions of each new task")
    parser.add_argument("--single", type=int, default=100, help="questions of each task on single pictures")
    parser.add_argument("--draws", type=int, default=3, help="draws of the random method")
    parser.add_argument("--work", type=Path, default=Path("runs/further-results"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=Path("results/tiny-video.json"))
    flags = parser.parse_args()
    document = measure(flags.model, flags.limit, flags.single, flags.draws, flags.work)
    write_atomic(flags.output, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
