"""Train one stage, in one process or in several that average their gradients."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from todre.smol.training.checkpoints import facts_of, start_of
from todre.smol.training.learner import Learner, build_learner
from todre.smol.training.options import DTYPES, Options
from todre.smol.training.places import strengthen_places
from todre.smol.training.stages import STAGES, Slice, Stage
from todre.smol.training.warm import warm_start
from todre.tiny.optim import Budget
from todre.tiny.parallel import agree, average_gradients, joined
from todre.tiny.runfiles import append_log, rewind_log, save_state

log = logging.getLogger("todre.smol.training")
_SEEDS_PER_RUN = 10**10
_FLAT = 0.3
_LAST_RATE = 0.03
_CONNECTOR_RATE = 0.15
_MARKS_RATE = 5.0


@dataclass(frozen=True)
class _Run:
    """What the steps of a stage share.

    Attributes:
        stage: the stage.
        learner: what is trained.
        optimizer: of its trained tensors.
        options: what the command line sets.
        budget: how long the stage is.
        facts: what the checkpoint says of the training.
    """

    stage: Stage
    learner: Learner
    optimizer: torch.optim.AdamW
    options: Options
    budget: Budget
    facts: dict[str, Any]


def train(options: Options, rank: int = 0) -> Learner:
    """Train one stage to the end of its budget; it resumes from its own checkpoint.

    Args:
        options: what the command line sets.
        rank: number of this process, from 0; process 0 writes logs and checkpoints.

    Raises:
        InvalidValueError: what the stage goes on from is not there, or was trained with other settings.
        LoadError: the part file or the decoder's folder is none.
    """
    facts = facts_of(options)
    start = start_of(options) if options.stage != "warm" else None
    learner = build_learner(options.base, options.rank, options.scale, options.seed, DTYPES[options.dtype])
    if start is None:
        _warm(learner, options, facts)
        return learner
    learner.load(start["trained"])
    if options.stage == "places":
        _places(learner, options, facts)
        return learner
    budget = Budget(None, options.minutes)
    run = _Run(STAGES[options.stage], learner, make_optimizer(learner, options.lr), options, budget, facts)
    step = _resume(run, start)
    if rank == 0 and options.file(options.stage, "jsonl").exists():
        rewind_log(options.file(options.stage, "jsonl"), step)
    _loop(run, step, rank)
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
    """AdamW; each group keeps its peak rate as "peak"."""
    named = learner.trained()
    updates = [value for name, value in named.items() if name.startswith("lora.")]
    others = [value for name, value in named.items() if not name.startswith("lora.")]
    groups = [
        {"params": updates, "lr": lr, "peak": lr},
        {"params": others, "lr": lr * _CONNECTOR_RATE, "peak": lr * _CONNECTOR_RATE},
        {"params": list(learner.marks.parameters()), "lr": lr * _MARKS_RATE, "peak": lr * _MARKS_RATE},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def rate(step: int, progress: float) -> float:
    """Factor on the peak learning rate: eight steps up, flat to 30 %, then a cosine."""
    falling = max(0.0, (progress - _FLAT) / (1 - _FLAT))
    cosine = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * falling))
    return min(1.0, (step + 1) / 8) * cosine


def _warm(learner: Learner, options: Options, facts: dict[str, Any]) -> None:
    target = options.file("warm", "jsonl")
    target.unlink(missing_ok=True)

    def record(entry: dict[str, Any]) -> None:
        append_log(target, entry)
        log.info("warm %s", entry)

    warm_start(learner, 600, 1500, options.seed, record)
    save_state(options.file("warm", "pt"), {"trained": _copies(learner), "facts": facts})


def _places(learner: Learner, options: Options, facts: dict[str, Any]) -> None:
    entry = {"step": 0, **strengthen_places(learner, 200)}
    options.file("places", "jsonl").unlink(missing_ok=True)
    append_log(options.file("places", "jsonl"), entry)
    log.info("places %s", entry)
    save_state(options.file("places", "pt"), {"trained": _copies(learner), "facts": facts})


def _resume(run: _Run, start: dict[str, Any]) -> int:
    """Restore optimiser and budget, and return the step to go on with.

    Args:
        run: its learner has the trained tensors already.
        start: as `start_of` gives it; only a stage's own checkpoint has steps.
    """
    if "step" not in start:
        return 0
    run.learner.marks.load_state_dict(start["marks"])
    peaks = [group["peak"] for group in run.optimizer.param_groups]
    run.optimizer.load_state_dict(start["optimizer"])
    for group, peak in zip(run.optimizer.param_groups, peaks, strict=True):
        group["peak"] = peak
    run.budget.spent = float(start["seconds"])
    return int(start["step"])


def _copies(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.trained().items()}


def _loop(run: _Run, step: int, rank: int) -> None:
    options = run.options
    counts: Counter[str] = Counter()
    losses: list[float] = []
    saved = time.monotonic()
    first = run.stage.first + options.seed * _SEEDS_PER_RUN
    while (share := agree(run.budget.progress(step), options.processes)) < 1.0:
        which = Slice(first, step, options.batch, rank, options.processes)
        loss, found = run.stage.loss(run.learner, which)
        _update(loss, run.optimizer, rate(step, share), options.processes)
        losses.append(float(loss.detach()))
        counts.update(found)
        step += 1
        if rank == 0 and step % options.log_every == 0:
            _record(run, step, losses, counts, share)
            losses, counts = [], Counter()
        if rank == 0 and step % options.val_every == 0:
            _measure(run, step)
        if rank == 0 and time.monotonic() - saved > options.save_seconds:
            _save(run, step)
            saved = time.monotonic()
    if rank == 0:
        _measure(run, step)
        _save(run, step)


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


def _record(run: _Run, step: int, losses: list[float], counts: Counter[str], share: float) -> None:
    """Write the means since the last record to the log."""
    means = {
        "progress": round(share, 4),
        "loss": round(sum(losses) / len(losses), 4),
        **accuracies(counts, "train"),
    }
    _tell(run, step, means)


@torch.no_grad()
def _measure(run: _Run, step: int) -> None:
    """Measure accuracy on pictures of the `val` split and write it to the log."""
    counts: Counter[str] = Counter()
    for index in range(6):
        counts.update(run.stage.loss(run.learner, Slice(0, index, run.options.batch, split="val"))[1])
    _tell(run, step, accuracies(counts, "val"))


def _tell(run: _Run, step: int, found: dict[str, float]) -> None:
    """Write a record to the log."""
    entry = {"step": step - 1, "seconds": round(run.budget.elapsed(), 1), **found}
    append_log(run.options.file(run.stage.name, "jsonl"), entry)
    log.info("%s %s", run.stage.name, entry)


def accuracies(counts: Counter[str], prefix: str) -> dict[str, float]:
    """Share of right answers for each task, from counts of right and asked ones."""
    tasks = sorted(key.removeprefix("asked/") for key in counts if key.startswith("asked/"))
    return {f"{prefix}/{task}": round(counts[f"right/{task}"] / counts[f"asked/{task}"], 3) for task in tasks}


def _save(run: _Run, step: int) -> None:
    state = {
        "trained": _copies(run.learner),
        "marks": run.learner.marks.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": step,
        "seconds": run.budget.elapsed(),
        "facts": run.facts,
    }
    save_state(run.options.file(run.stage.name, "pt"), state)
