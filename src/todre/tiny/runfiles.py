"""Files of a training run: checkpoints and logs.

Both kinds of file survive a killed run. A log has one JSON line for each record.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from todre.files import Kind, append, atomic_path, read_finished, write_atomic
from todre.files.shapes import WHOLE

LOG = Kind("remove the run's folder to start anew", {"step": WHOLE}, most=2**30, lenient=True)
"""File kind of a run's log."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename the file."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint that `save_state` wrote: tensors and plain values only."""
    loaded: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return loaded


def append_log(path: Path, record: dict[str, Any]) -> None:
    """Append a record to a log as one JSON line."""
    with path.open("ab") as stream:
        append(stream, json.dumps(record), path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All records of a log; an unfinished last line is left out.

    Raises:
        InvalidValueError: any other line is damaged.
    """
    return [record for _, record in read_finished(path, LOG)]


def rewind_log(path: Path, step: int) -> None:
    """Drop the records from `step` on, since a restarted run repeats those steps."""
    kept = [json.dumps(record) + "\n" for record in read_log(path) if record["step"] < step]
    write_atomic(path, "".join(kept))
