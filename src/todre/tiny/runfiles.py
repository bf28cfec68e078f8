"""Files of a training run: checkpoints and logs.

Both survive a run that is killed; a log has one JSON line for each record.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from todre.files import Kind, append, atomic_path, read_finished, write_atomic
from todre.files.shapes import WHOLE

LOG = Kind("remove the run's folder to start anew", {"step": WHOLE}, most=2**30, lenient=True)
"""The log of a run."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name and rename it."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint of `save_state`: tensors and plain values only."""
    loaded: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return loaded


def append_log(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("ab") as stream:
        append(stream, json.dumps(record), path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All records; an unfinished last line is left out.

    Raises:
        InvalidValueError: any other line is damaged.
    """
    return [record for _, record in read_finished(path, LOG)]


def rewind_log(path: Path, step: int) -> None:
    """Drop records of steps from `step` on: the run repeats them after a restart."""
    kept = [json.dumps(record) + "\n" for record in read_log(path) if record["step"] < step]
    write_atomic(path, "".join(kept))
