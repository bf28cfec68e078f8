"""The table of `results/tiny-video.json` in Markdown, for docs/tiny-model.md.

    python benchmarks/tiny_video.py FILE

The file is made by `python -m todre.evaluate.further`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from todre.reading.formats import pipe_table

COLUMNS = {
    "none": "no pruning", "todre@0.25": "todre, 25 %", "todre@0.1": "todre, 10 %",
    "random@0.25": "random, 25 %", "random@0.1": "random, 10 %",
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    (path,) = sys.argv[1:] if arguments is None else arguments
    document = json.loads(Path(path).read_text(encoding="utf-8"))
    rows = [[f"`{name}`", *_cells(task)] for name, task in document["tasks"].items()]
    sys.stdout.write(pipe_table(["task", *COLUMNS.values(), "grey pictures", "best constant"], rows))
    return 0


def _cells(task: dict[str, Any]) -> list[str]:
    shown = [f"{_percent(task['rows'][name]['value'])} {_interval(task['rows'][name])}" for name in COLUMNS]
    return [
        *shown,
        _percent(task["blind"]["value"]),
        f"{_percent(task['constant']['value'])} ({task['constant']['answer']})",
    ]


def _interval(numbers: dict[str, float]) -> str:
    return f"[{_percent(numbers['low'])}, {_percent(numbers['high'])}]"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"


if __name__ == "__main__":
    sys.exit(main())
