"""Kill `todre batch` at random moments, and compare its rows with an unbroken run's."""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from todre.bench.conditions import machine
from todre.files import write_atomic
from todre.scenes import make_scene

RESULT = Path(__file__).parent.parent / "results" / "batch-kill.json"


def write_rows(folder: Path, count: int) -> Path:
    """A file of `count` questions about scenes, every tenth a request of OpenAI's batch API."""
    lines = []
    for number in range(count):
        scene = make_scene(number, "val", 96)
        scene.image.save(folder / f"{number}.png")
        question = scene.questions[0].text
        row: dict[str, Any] = {"id": f"row {number}", "image": f"{number}.png", "question": question}
        if number % 10 == 0:
            parts = [{"type": "image_url", "image_url": {"url": f"{number}.png"}}, {"type": "text", "text": question}]
            body = {"model": "todre-tiny", "messages": [{"role": "user", "content": parts}]}
            row = {"custom_id": f"row {number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        lines.append(json.dumps(row) + "\n")
    file = folder / "rows.jsonl"
    file.write_text("".join(lines))
    return file


def command(rows: Path, output: Path, processes: int) -> list[str]:
    words = ["batch", rows, "--output", output, "--retain", "0.2", "--max-new-tokens", "6", "--device", "cpu", "-q"]
    return [sys.executable, "-m", "todre", *map(str, words), *(["--processes", str(processes)] if processes else [])]


def read(output: Path) -> dict[str, Any]:
    """The rows of an output by id, without the times of OpenAI's shape; raises if one is there twice."""
    found: dict[str, Any] = {}
    for text in output.read_text().splitlines():
        line = json.loads(text)
        name = line.get("custom_id", line["id"])
        if line.get("response"):
            del line["response"]["body"]["created"]
        assert name not in found, name
        found[name] = line
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder), options.rows)
        whole, killed = Path(folder, "whole.jsonl"), Path(folder, "killed.jsonl")
        started = time.monotonic()
        subprocess.run(command(rows, whole, 0), check=True)
        seconds = time.monotonic() - started
        after = []
        for turn in range(options.kills):
            hit = _kill(command(rows, killed, turn % 3), killed, chance, options.rows / options.kills)
            after.append(hit)
        subprocess.run(command(rows, killed, 2), check=True)
        same = read(whole) == read(killed)
    document = {
        "format": "todre batch kill 1",
        "machine": machine(torch.device("cpu")),
        "rows": options.rows,
        "kills": len([each for each in after if each is not None]),
        "rows_in_the_output_at_each_kill": after,
        "seconds_of_the_unbroken_run": round(seconds, 1),
        "rows_equal_the_unbroken_runs": same,
    }
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")
    sys.stderr.write(f"killed {document['kills']} of {options.kills} times; rows are the same: {same}\n")
    return int(not same)


def _kill(words: list[str], output: Path, chance: random.Random, rows: float) -> int | None:
    """Kill a run at random while it starts, or after some more rows; returns the rows in the output then."""
    run = subprocess.Popen(words)
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0, 4))
    else:
        more = chance.uniform(0, rows * 1.2)
        before = _count(output)
        while run.poll() is None and _count(output) < before + more:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
    if run.poll() is not None:
        return None
    run.send_signal(signal.SIGKILL)
    run.wait()
    return _count(output)


def _count(output: Path) -> int:
    return output.read_bytes().count(b"\n") if output.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
