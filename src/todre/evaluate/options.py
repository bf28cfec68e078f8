"""Options that the evaluation's commands share, and their results' conditions."""

from __future__ import annotations

import argparse
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

from todre.environment import versions
from todre.evaluate.runner import model_sha256
from todre.evaluate.session import Settings
from todre.evaluate.table import Table
from todre.loading.model import load


def add_common(parser: argparse.ArgumentParser, pictures: int, processes: bool = True, work: bool = True) -> None:
    """Add the options of every command that answers scenes.

    Args:
        parser: of the command.
        pictures: their number where none is given.
        processes: whether the command answers in several processes; without, it has no option for it.
        work: whether it keeps unfinished work.
    """
    parser.add_argument("-m", "--model", help="folder or hub id; the shipped model by default")
    parser.add_argument("--pictures", "--limit", type=int, default=pictures, help="scenes, in whole groups")
    parser.add_argument("--size", type=int, default=192, help="side of the pictures in pixels")
    parser.add_argument("--group-size", type=int, default=8, help="scenes answered together")
    parser.add_argument("--split", default="test", help="split of todre.scenes")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--batch-size", type=int, default=36, help="rows of one forward; changes no answer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.set_defaults(processes=1)
    if processes:
        parser.add_argument("--processes", type=int, default=min(4, os.cpu_count() or 1), help="one thread each")
    if work:
        parser.add_argument("--work", type=Path, default=Path("runs/evaluate"), help="folder of unfinished work")


def settings_from(flags: argparse.Namespace) -> Settings:
    """Settings of the session, from the command line."""
    return Settings(
        model=flags.model,
        split=flags.split,
        size=flags.size,
        group_size=flags.group_size,
        batch_size=flags.batch_size,
        device=flags.device,
        dtype=flags.dtype,
    )


def conditions_of_run(settings: Settings, flags: argparse.Namespace, table: Table) -> dict[str, Any]:
    """Conditions under which a result was measured, ready for JSON."""
    digest = model_sha256(settings.model)
    return {
        "model": {**load(settings.model, device=settings.device, dtype=settings.dtype).facts(), "sha256": digest},
        "versions": versions(),
        "machine": platform.machine(),
        "processes": flags.processes,
        "threads_per_process": 1 if flags.processes > 1 else None,
        "batch_size": settings.batch_size,
        "mode": "drop",
        "decoding": "greedy",
        "split": settings.split,
        "picture_size": settings.size,
        "first_picture": 0,
        "pictures": flags.pictures,
        "questions": len(table.questions),
        "questions_per_task": min(Counter(table.tasks.tolist()).values()),
        "bootstrap": {"resamples": table.bootstrap.draws.shape[0], "seed": flags.seed, "clusters": "pictures"},
    }
