"""Kill `todre eval` at random moments, and compare its files with an unbroken run."""

from __future__ import annotations

import argparse
import filecmp
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = ("result.json", "samples.jsonl", "items.jsonl")
COMMAND = (
    "eval", "--tasks", "scenes-colour,scenes-pope", "--limit", "12", "--size", "96", "--group-size", "2",
    "--methods", "todre,random,fastv", "--retain", "0.2,0.1", "--device", "cpu", "-q",
)  # fmt: skip


def command(output: Path, processes: int) -> list[str]:
    return [
        str(Path(sys.executable).with_name("todre")),
        *COMMAND,
        "--output",
        str(output),
        "--processes",
        str(processes),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        started = time.monotonic()
        subprocess.run(command(whole, 1), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        hit = sum(_kill(killed, chance.uniform(0.0, seconds / 4), 1 + turn % 2) for turn in range(options.kills))
        subprocess.run(command(killed, 2), check=True, stdout=subprocess.DEVNULL)
        different = [name for name in FILES if not filecmp.cmp(whole / name, killed / name, shallow=False)]
    sys.stderr.write(f"killed {hit} of {options.kills} times; files that differ: {', '.join(different) or 'none'}\n")
    return int(bool(different))


def _kill(output: Path, after: float, processes: int) -> bool:
    """True if the run was still going after so many seconds, and was killed."""
    run = subprocess.Popen(command(output, processes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    running = run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    return running


if __name__ == "__main__":
    sys.exit(main())
