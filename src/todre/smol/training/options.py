"""What the command line of training sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from todre.fields import Checked
from todre.fields.kinds import Count, Positive, Seed

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Options(Checked):
    """What the command line sets for one stage.

    Attributes:
        stage: "warm", "short", "places", "full", "weak", "counts" or "firsts".
        base: folder of the decoder, as `todre smol fetch` writes it.
        run: directory of checkpoints and logs.
        minutes: length of the stage in minutes of training.
        batch: pictures per step and process.
        lr: peak learning rate of the low-rank updates; the connector's is 0.15 of it.
        rank: rank of the updates.
        scale: factor on the updates.
        seed: seed of the starting weights, of the choice of patches in `warm`, and of the pictures of `short`,
            `full`, `weak`, `counts` and `firsts`; `warm` and `places` draw the same pictures for every seed.
        start: part file that a new stage starts from; None takes the checkpoint of the stage before it.
        processes: number of data-parallel processes, each with one thread; `warm` and `places` run in one.
        dtype: dtype of the decoder.
        val_every: steps between measurements on the `val` split.
        log_every: steps between records of the log.
        save_seconds: seconds between checkpoints.
    """

    stage: str
    base: Path
    run: Path
    minutes: Positive = 60.0
    batch: Count = 2
    lr: Positive = 1e-3
    rank: Count = 32
    scale: Positive = 2.0
    seed: Seed = 0
    start: Path | None = None
    processes: Count = 1
    dtype: str = "bfloat16"
    val_every: Count = 150
    log_every: Count = 10
    save_seconds: Positive = 120.0

    def file(self, stage: str, suffix: str) -> Path:
        """A stage's file in the run's directory."""
        return self.run / f"{stage}.{suffix}"
