"""Subjects that take turns on one thread, and what is written down of them."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selection import machine

from todre.files import write_atomic


def turns(subjects: Mapping[str, Callable[[], Any]], rounds: int, calls: int) -> dict[str, list[float]]:
    """Processor milliseconds of one call of each subject, round by round, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds + 1):
        for name, call in subjects.items():
            started = time.process_time()
            for _ in range(calls):
                call()
            found[name].append(1000 / calls * (time.process_time() - started))
    return {name: times[1:] for name, times in found.items()}


def options(description: str | None, output: str) -> argparse.Namespace:
    """The rounds and the file that the command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path(output))
    return parser.parse_args()


def record(output: Path, rows: Sequence[dict[str, Any]], about: Mapping[str, Any], **more: Any) -> None:
    """Write rows with the machine that they are of, and print them.

    Args:
        output: the file.
        rows: ready for JSON.
        about: more about the machine.
        more: what else the document holds, before the rows.
    """
    here = machine("cpu") | {"cores": os.cpu_count(), "load": os.getloadavg()[0]} | dict(about)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, json.dumps({"machine": here, **more, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(row)
