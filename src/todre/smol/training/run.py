"""Train one stage, in one process or in several that average their gradients."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from todre.fields import Checked
from todre.fields.kinds import Count, Positive, Seed
from todre.smol.part import read_part
from todre.smol.training.learner import Learner, build_learner
from todre.smol.training.places import strengthen_places
from todre.smol.training.stages import STAGES, Slice, Stage
from todre.smol.training.warm import warm_start
from todre.tiny.optim import Budget
from todre.tiny.parallel import agree, average_gradients, joined
from todre.tiny.runfiles import append_log, load_state, rewind_log, save_state

log = logging.getLogger("todre.smol.training")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
_SEEDS_PER_RUN = 10**10
_FLAT = 0.3
_LAST_RATE = 0.03
_CONNECTOR_RATE = 0.15


@dataclass(frozen=True)
class Options(Checked):
    """What the command line sets for one stage.

    Attributes:
        stage: "warm", "short", "places" or "full".
        base: folder of the decoder, as `todre smol fetch` writes it.
        run: directory of checkpoints and logs.
        minutes: length of the stage in minutes of training.
        batch: pictures per step and process.
        lr: peak learning rate of the low-rank updates; the connector's is 0.15 of it.
        rank: rank of the updates.
        scale: factor on the updates.
        seed: seed of the starting weights and of the pictures.
        start: part file that a new stage starts from; None takes the checkpoint of the stage before it.
        processes: number of data-parallel processes, each with one thread.
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


def train(options: Options, rank: int = 0) -> Learner:
    """Train one stage to the end of its budget; it resumes from its own checkpoint.

    Args:
        options: what the command line sets.
        rank: number of this process, from 0; process 0 writes logs and checkpoints.
    """
    learner = build_learner(options.base, options.rank, options.scale, options.seed, DTYPES[options.dtype])
    if options.stage in ("warm", "places"):
        (_warm if options.stage == "warm" else _places)(learner, options)
        return learner
    stage = STAGES[options.stage]
    optimizer = make_optimizer(learner, options.lr)
    step, budget = _restore(stage, learner, optimizer, options)
    if rank == 0 and _file(options, stage.name, "jsonl").exists():
        rewind_log(_file(options, stage.name, "jsonl"), step)
    _loop(stage, learner, optimizer, step, budget, options, rank)
    return learner


def work(rank: int, options: Options) -> None:
    """Train as one of several data-parallel processes, with one thread.

    Args:
        rank: number of this process, from 0.
        options: what the command line sets.
    """
    with joined(options.run, rank, options.processes):
        train(options, rank)


def make_optimizer(learner: Learner, lr: float) -> torch.optim.AdamW:
    """AdamW for updates and connector; each group keeps its peak rate as "peak"."""
    named = learner.trained()
    updates = [value for name, value in named.items() if name.startswith("lora.")]
    others = [value for name, value in named.items() if not name.startswith("lora.")]
    groups = [
        {"params": updates, "lr": lr, "peak": lr},
        {"params": others, "lr": lr * _CONNECTOR_RATE, "peak": lr * _CONNECTOR_RATE},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def rate(step: int, progress: float) -> float:
    """Factor on the peak learning rate: eight steps up, flat to 30 %, then a cosine."""
    falling = max(0.0, (progress - _FLAT) / (1 - _FLAT))
    cosine = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * falling))
    return min(1.0, (step + 1) / 8) * cosine


def _file(options: Options, stage: str, suffix: str) -> Path:
    return options.run / f"{stage}.{suffix}"


def _warm(learner: Learner, options: Options) -> None:
    target = _file(options, "warm", "jsonl")
    target.unlink(missing_ok=True)

    def record(entry: dict[str, Any]) -> None:
        append_log(target, entry)
        log.info("warm %s", entry)

    warm_start(learner, 600, 1500, options.seed, record)
    save_state(_file(options, "warm", "pt"), {"trained": _copies(learner)})


def _places(learner: Learner, options: Options) -> None:
    learner.load(load_state(_file(options, "short", "pt"), torch.device("cpu"))["trained"])
    entry = {"step": 0, **strengthen_places(learner, 200)}
    _file(options, "places", "jsonl").unlink(missing_ok=True)
    append_log(_file(options, "places", "jsonl"), entry)
    log.info("places %s", entry)
    save_state(_file(options, "places", "pt"), {"trained": _copies(learner)})


def _restore(stage: Stage, learner: Learner, optimizer: torch.optim.AdamW, options: Options) -> tuple[int, Budget]:
    """Load the stage's own checkpoint, else that of the stage before it."""
    budget = Budget(None, options.minutes)
    own = _file(options, stage.name, "pt")
    if not own.exists():
        learner.load(_before(stage, options))
        return 0, budget
    state = load_state(own, torch.device("cpu"))
    learner.load(state["trained"])
    peaks = [group["peak"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["peak"] = peak
    budget.spent = float(state["seconds"])
    return int(state["step"]), budget


def _before(stage: Stage, options: Options) -> dict[str, torch.Tensor]:
    """The trained tensors that a new stage starts from."""
    if options.start is not None:
        return dict(read_part(options.start).tensors)
    tensors: dict[str, torch.Tensor] = load_state(_file(options, stage.before, "pt"), torch.device("cpu"))["trained"]
    return tensors


def _copies(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.trained().items()}


def _loop(
    stage: Stage,
    learner: Learner,
    optimizer: torch.optim.AdamW,
    step: int,
    budget: Budget,
    options: Options,
    rank: int,
) -> None:
    counts: Counter[str] = Counter()
    losses: list[float] = []
    saved = time.monotonic()
    first = stage.first + options.seed * _SEEDS_PER_RUN
    while (share := agree(budget.progress(step), options.processes)) < 1.0:
        which = Slice(first, step, options.batch, rank, options.processes)
        loss, found = stage.loss(learner, which)
        _update(loss, optimizer, rate(step, share), options.processes)
        losses.append(float(loss.detach()))
        counts.update(found)
        step += 1
        if rank == 0 and step % options.log_every == 0:
            _record(stage, options, step, budget, losses, counts, share)
            losses, counts = [], Counter()
        if rank == 0 and step % options.val_every == 0:
            _measure(stage, learner, options, step, budget)
        if rank == 0 and time.monotonic() - saved > options.save_seconds:
            _save(stage, learner, optimizer, options, step, budget)
            saved = time.monotonic()
    if rank == 0:
        _measure(stage, learner, options, step, budget)
        _save(stage, learner, optimizer, options, step, budget)


def _update(loss: torch.Tensor, optimizer: torch.optim.AdamW, factor: float, processes: int) -> None:
    """Step the optimiser once, with gradients averaged over processes and clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    average_gradients(parameters, processes)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    optimizer.step()


def _record(
    stage: Stage,
    options: Options,
    step: int,
    budget: Budget,
    losses: list[float],
    counts: Counter[str],
    share: float,
) -> None:
    """Write the means since the last record to the log."""
    entry = {
        "step": step - 1,
        "seconds": round(budget.elapsed(), 1),
        "progress": round(share, 4),
        "loss": round(sum(losses) / len(losses), 4),
        **accuracies(counts, "train"),
    }
    append_log(_file(options, stage.name, "jsonl"), entry)
    log.info("%s %s", stage.name, entry)


@torch.no_grad()
def _measure(stage: Stage, learner: Learner, options: Options, step: int, budget: Budget) -> None:
    """Measure accuracy on pictures of the `val` split and write it to the log."""
    counts: Counter[str] = Counter()
    for index in range(6):
        counts.update(stage.loss(learner, Slice(0, index, options.batch, split="val"))[1])
    entry = {"step": step - 1, "seconds": round(budget.elapsed(), 1), **accuracies(counts, "val")}
    append_log(_file(options, stage.name, "jsonl"), entry)
    log.info("%s %s", stage.name, entry)


def accuracies(counts: Counter[str], prefix: str) -> dict[str, float]:
    """Share of right answers for each task, from counts of right and asked ones."""
    tasks = sorted(key.removeprefix("asked/") for key in counts if key.startswith("asked/"))
    return {f"{prefix}/{task}": round(counts[f"right/{task}"] / counts[f"asked/{task}"], 3) for task in tasks}


def _save(
    stage: Stage, learner: Learner, optimizer: torch.optim.AdamW, options: Options, step: int, budget: Budget
) -> None:
    state = {
        "trained": _copies(learner),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": budget.elapsed(),
        "rank": learner.rank,
        "scale": learner.scale,
    }
    save_state(_file(options, stage.name, "pt"), state)
