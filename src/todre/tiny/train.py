"""Train the shipped model: `python -m todre.tiny.train STAGE --run DIR`.

The stage's length is `--steps N` or `--minutes M`.

Stages: `tower` and `decoder` (independent: run them side by side), then `projector`, then `whole`; `further` starts
from the shipped weights and adds several pictures and clips; `export` writes the model. Each stage resumes from its
last checkpoint when it is started again; seed, batch and processes must be the same then.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from todre.errors import InvalidValueError, TodreError
from todre.fields import Checked
from todre.fields.kinds import Count, Positive, Seed, Share
from todre.files import printable
from todre.tiny.export import export
from todre.tiny.optim import Budget, make_optimizers, split_parameters
from todre.tiny.parallel import agree, average_gradients, joined
from todre.tiny.registry import ALL_STAGES, FURTHER, builder
from todre.tiny.runfiles import append_log, load_state, rewind_log, save_state
from todre.tiny.stages import STAGES, Parts, Slice, Stage
from todre.tiny.video_model import export_video

log = logging.getLogger("todre.tiny.train")
_SEEDS_PER_STAGE = 10**8
_OF_NO_STAGE = ("threads", "source", "output")


@dataclass(frozen=True)
class Options(Checked):
    """What the command line sets for one stage.

    Attributes:
        stage: name of the stage.
        run: directory of checkpoints and logs.
        steps, minutes: length of the stage; one of them is None.
        batch: pictures per step and process.
        lr: Muon's peak learning rate.
        seed: seed of the starting weights and of the pictures.
        processes: number of data-parallel processes.
        device: name of the device in torch.
        save_seconds: seconds between checkpoints.
        log_every: number of steps between records of the log.
        cooldown: share of the stage, at its end, over which the learning rate falls.
    """

    stage: str
    run: Path
    steps: Count | None
    minutes: Positive | None
    batch: Count
    lr: Positive
    seed: Seed = 0
    processes: Count = 1
    device: str = "cpu"
    save_seconds: float = 60.0
    log_every: Count = 10
    cooldown: Share = 0.45


@dataclass
class Progress:
    """Steps that a stage has done, its budget, and what decides its pictures."""

    step: int
    budget: Budget
    facts: dict[str, int]


def train_stage(options: Options, rank: int = 0) -> Parts:
    """Train one stage to the end of its budget, and return the trained parts.

    Training resumes from the stage's checkpoint if there is one.

    Args:
        options: what the command line sets.
        rank: number of this process, from 0; process 0 writes logs and checkpoints.
    """
    stage = ALL_STAGES[options.stage]
    parts = builder(stage.name)(options.seed, torch.device(options.device))
    optimizers = _optimizers(stage, parts, options)
    progress = _restore(stage, parts, optimizers, options)
    if rank == 0 and options.run.joinpath(f"{stage.name}.jsonl").exists():
        rewind_log(options.run / f"{stage.name}.jsonl", progress.step)
    _loop(stage, parts, optimizers, progress, options, rank)
    if rank == 0:
        save_state(options.run / f"{stage.name}.pt", _state(stage, parts, optimizers, progress, done=True))
    return parts


def starts_of(options: Options) -> dict[str, dict[str, Any]]:
    """Stage → checkpoint to start from: the stage's own, or those that it needs.

    Raises:
        InvalidValueError: its own was made with other pictures, or a stage that is needed was not trained.
    """
    own, device = options.run / f"{options.stage}.pt", torch.device(options.device)
    if not own.exists():
        return {name: _trained(options.run, name, device) for name in ALL_STAGES[options.stage].needs}
    state = load_state(own, device)
    for name, now in _facts(options).items():
        if (then := state.get("facts", {}).get(name, "unknown")) != now:
            raise InvalidValueError(
                f"{printable(own)} was trained with {name} {then}, not {now}; take the same {name}, or another run."
            )
    return {options.stage: state}


def _trained(run: Path, stage: str, device: torch.device) -> dict[str, Any]:
    """The checkpoint of a stage that must have been trained."""
    file = run / f"{stage}.pt"
    if not file.is_file():
        raise InvalidValueError(f"{printable(file)} is not there; train {stage} first.")
    return load_state(file, device)


def _optimizers(stage: Stage, parts: Parts, options: Options) -> list[torch.optim.Optimizer]:
    for module in parts.modules().values():
        module.requires_grad_(False)
    trained = nn.ModuleDict(stage.trained(parts))
    trained.requires_grad_(True)
    hidden, rest = split_parameters(trained.named_parameters())
    return make_optimizers(hidden, rest, options.lr)


def _restore(stage: Stage, parts: Parts, optimizers: list[torch.optim.Optimizer], options: Options) -> Progress:
    """Load the stage's own checkpoint, else the checkpoints of the stages it needs."""
    budget = Budget(options.steps, options.minutes, cooldown=options.cooldown)
    starts = starts_of(options)
    if stage.name in starts:
        state = starts[stage.name]
        for name, module in parts.modules().items():
            module.load_state_dict(state[name])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            peaks = [group["peak"] for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["peak"] = peak
        budget.spent = float(state["seconds"])
        return Progress(int(state["step"]), budget, _facts(options))
    for name, state in starts.items():
        for key, module in STAGES[name].trained(parts).items():
            module.load_state_dict(state["trained"][key])
    return Progress(0, budget, _facts(options))


def _facts(options: Options) -> dict[str, int]:
    """Settings that say which pictures a step sees."""
    return {"seed": options.seed, "batch": options.batch, "processes": options.processes}


def _state(
    stage: Stage, parts: Parts, optimizers: list[torch.optim.Optimizer], progress: Progress, done: bool = False
) -> dict[str, Any]:
    state: dict[str, Any] = {name: module.state_dict() for name, module in parts.modules().items()}
    state["trained"] = {key: module.state_dict() for key, module in stage.trained(parts).items()}
    state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
    state["facts"] = progress.facts
    return {**state, "step": progress.step, "seconds": progress.budget.elapsed(), "done": done}


def _loop(
    stage: Stage, parts: Parts, optimizers: list[torch.optim.Optimizer], progress: Progress, options: Options, rank: int
) -> None:
    first_seed = (options.seed * len(STAGES) + list(ALL_STAGES).index(stage.name)) * _SEEDS_PER_STAGE
    saved, totals, counted = time.monotonic(), Counter[str](), 0
    while (share := agree(progress.budget.progress(progress.step), options.processes)) < 1.0:
        rate = progress.budget.rate(progress.step, share)
        which = Slice(first_seed, progress.step, options.batch, rank, options.processes, progress=share)
        loss, metrics = stage.loss(parts, which)
        _update(loss, optimizers, rate, options.processes)
        totals.update({"loss": float(loss.detach()), **metrics})
        counted += 1
        progress.step += 1
        if rank == 0 and progress.step % options.log_every == 0:
            _record(stage, progress, options, totals, counted, share, rate)
            totals, counted = Counter(), 0
        if rank == 0 and time.monotonic() - saved > options.save_seconds:
            save_state(options.run / f"{stage.name}.pt", _state(stage, parts, optimizers, progress))
            saved = time.monotonic()


def _update(loss: torch.Tensor, optimizers: list[torch.optim.Optimizer], rate: float, processes: int) -> None:
    """Step the optimisers once, with gradients averaged over processes and clipped."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for o in optimizers for g in o.param_groups for p in g["params"] if p.grad is not None]
    average_gradients(parameters, processes)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()


def _record(
    stage: Stage, progress: Progress, options: Options, totals: Counter[str], counted: int, share: float, rate: float
) -> None:
    """Write the means since the last record to the log.

    Counts of right answers and of questions become accuracies.
    """
    accuracies = {
        key.replace("right/", "accuracy/"): totals[key] / totals[key.replace("right/", "asked/")]
        for key in totals
        if key.startswith("right/")
    }
    means = {key: value / counted for key, value in totals.items() if not key.startswith(("right/", "asked/"))}
    record = {
        "step": progress.step - 1,
        "seconds": round(progress.budget.elapsed(), 1),
        "progress": round(share, 4),
        "rate": round(rate, 4),
        **{key: round(value, 4) for key, value in {**means, **accuracies}.items()},
    }
    append_log(options.run / f"{stage.name}.jsonl", record)
    log.info("%s %s", stage.name, record)


def _worker(rank: int, options: Options) -> None:
    with joined(options.run, rank, options.processes):
        train_stage(options, rank)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.tiny.train", description=__doc__)
    parser.add_argument("stage", choices=[*ALL_STAGES, "export"])
    parser.add_argument("--run", type=Path, required=True, help="directory of the run: checkpoints and logs")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="length of the stage in steps")
    budget.add_argument("--minutes", type=float, help="length of the stage in minutes of training")
    parser.add_argument("--batch", type=int, default=8, help="pictures per step and process")
    parser.add_argument("--lr", type=float, default=0.02, help="Muon's peak rate; AdamW gets an eighth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="data-parallel processes (CPU, gloo)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a single process")
    parser.add_argument("--cooldown", type=float, default=0.45, help="share of the stage over which the rate falls")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--source", choices=list(ALL_STAGES), default="whole", help="export: which stage's checkpoint")
    parser.add_argument("--output", type=Path, help="export: directory to write")
    found = parser.parse_args(arguments)
    if found.stage == "export" and found.output is None:
        parser.error("export needs --output, the directory to write")
    if found.stage != "export" and found.steps is None and found.minutes is None:
        parser.error(f"{found.stage} needs a length; give --steps or --minutes")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    try:
        if options.stage == "export":
            _export(options)
        else:
            _train(options)
    except TodreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _export(options: argparse.Namespace) -> None:
    state = _trained(options.run, options.source, torch.device("cpu"))
    parts = builder(options.source)(options.seed, torch.device("cpu"))
    parts.model.load_state_dict(state["model"])
    write = export_video if options.source == FURTHER.name else export
    write(parts.model, parts.tokenizer, options.output)


def _train(options: argparse.Namespace) -> None:
    settings = Options(**{name: value for name, value in vars(options).items() if name not in _OF_NO_STAGE})
    options.run.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        train_stage(settings)
        return
    starts_of(settings)  # in this process, so that what it refuses is one sentence
    options.run.joinpath(".rendezvous").unlink(missing_ok=True)
    spawn(_worker, args=(settings,), nprocs=options.processes)


if __name__ == "__main__":
    sys.exit(main())
