"""Memory of `todre batch`'s own part over many rows, with a stub in place of a model.

For each number of rows one process answers all rows, and another goes on with an output that lacks its last row. Both
say how much their peak memory grew from after the imports to the end. What has to grow with the rows is a hash of each
id, 16 bytes, and one of its fields, 8 bytes; twice, where the output has the row already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from todre.batch.records import Outcome, Record, Reply
from todre.batch.run import run
from todre.batch.sources import JsonLines

ROWS = (1_000, 10_000, 100_000)
RESULT = Path(__file__).parent.parent / "results" / "batch-memory.json"


def stub(records: Iterable[Record]) -> Iterator[Outcome]:
    """Outcomes of about the usual size, without a model."""
    for record in records:
        reply = Reply(
            text="an answer of a few words", ended="stop", model="stub", prompt_tokens=800, new_tokens=7,
            visual_tokens=(744, 74),
        )  # fmt: skip
        yield Outcome.of(record, reply)


def write_rows(file: Path, count: int) -> None:
    with file.open("w") as stream:
        for number in range(count):
            row = {"id": f"a row {number}", "image": f"pictures/{number}.png", "question": "What is it? " * 20}
            stream.write(json.dumps(row) + "\n")


def answer(folder: Path) -> dict[str, Any]:
    """Answer the rows in a folder, in a process that does nothing else; growth of its peak memory."""
    base, started = _peak(), time.monotonic()
    summary = run(JsonLines(folder / "rows.jsonl"), folder / "out.jsonl", {"model": "stub"}, stub)
    return {
        "done_before": summary.done_before,
        "peak_MiB_after_imports": base,
        "grown_MiB": round(_peak() - base, 2),
        "seconds": round(time.monotonic() - started, 2),
    }


def _peak() -> float:
    """Highest memory of this program in MiB, as Linux counts it; `ru_maxrss` counts the parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024, 2)


def _apart(folder: Path) -> Any:
    words = [sys.executable, __file__, "--folder", str(folder)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def _without_last_line(file: Path) -> None:
    with file.open("r+b") as stream:
        size = stream.seek(-4096, 2)
        tail = stream.read()
        stream.truncate(size + tail.rindex(b"\n", 0, -1) + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(answer(options.folder)))
        return
    import torch

    from todre.bench.conditions import machine
    from todre.files import write_atomic

    measured = []
    for count in ROWS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_rows(folder / "rows.jsonl", count)
            whole = _apart(folder)
            _without_last_line(folder / "out.jsonl")
            sizes = {each: (folder / f"{each}.jsonl").stat().st_size for each in ("rows", "out")}
            measured.append({"rows": count, "bytes": sizes, "from_nothing": whole, "resumed": _apart(folder)})
    document = {"format": "todre batch memory 1", "machine": machine(torch.device("cpu")), "measured": measured}
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
