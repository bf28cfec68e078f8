"""Train GlimpsePrune's glimpse on the shipped model.

    python -m todre.glimpse.train --run DIR --output FILE

The model is not changed. Each step has its own pictures of the training split, with about sixteen questions each; the
renderer gives the mask of the visual tokens that a question is about. An interrupted run that is started again with the
same arguments ends at the same weights. The log, `glimpse.jsonl`, is beside the checkpoint in the run's folder.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from todre.errors import InvalidValueError, TodreError
from todre.evaluate.runner import model_sha256
from todre.fields import Checked
from todre.fields.kinds import Count, Positive, Seed
from todre.glimpse.gather import Gatherer
from todre.glimpse.loss import mask_loss
from todre.methods.glimpse.predictor import Glimpse, new_glimpse
from todre.methods.glimpse.weights import Trained, frozen_copy, save_trained, sketch_of
from todre.scenes import TASKS, make_scene
from todre.tiny import load
from todre.tiny.data import training_questions, training_size
from todre.tiny.runfiles import append_log, load_state, rewind_log, save_state

_FIRST_SEED = 10**10
"""Number of the first scene; the model's own training saw no scene from here on."""
_SEEDS_PER_RUN = 10**8
_ASKED = dict.fromkeys(TASKS, 2)
_WARM_UP = 0.05


@dataclass(frozen=True)
class Options(Checked):
    """Options of the training, as the command line sets them.

    Args:
        run: folder of checkpoint and log.
        steps: number of training steps.
        pictures: number of pictures in each step.
        layer: count of decoder layers run before the glimpse looks.
        lr: AdamW's peak rate; it rises over a twentieth of the steps and falls as a cosine.
        seed: seed of the first weights, and of the pictures.
        save_seconds: time between checkpoints.
        log_every: steps between lines of the log.
    """

    run: Path
    steps: Count
    pictures: Count = 2
    layer: Count = 1
    lr: Positive = 3e-3
    seed: Seed = 0
    save_seconds: float = 30.0
    log_every: Count = 20


def train(options: Options, gatherer: Gatherer, show: Callable[[range], Any] = lambda steps: steps) -> Glimpse:
    """The glimpse after the last step; continues from a checkpoint if there is one.

    Args:
        options: settings of the training.
        gatherer: the frozen model.
        show: shows progress; takes the steps that are left, and yields each step.
    """
    glimpse = new_glimpse(gatherer.shape(), options.seed)
    optimizer = torch.optim.AdamW(glimpse.parameters(), lr=options.lr, weight_decay=0.01)
    first, spent = _restore(options, glimpse, optimizer)
    started = saved = time.monotonic()
    sums: dict[str, list[float]] = {}
    for step in show(range(first, options.steps)):
        rate = rate_at((step + 1) / options.steps)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate
        for name, value in update(options, gatherer, glimpse, optimizer, step).items():
            sums.setdefault(name, []).append(value)
        seconds = spent + time.monotonic() - started
        if (step + 1) % options.log_every == 0:
            means = {name: round(sum(values) / len(values), 4) for name, values in sums.items()}
            append_log(_log(options), {"step": step, "seconds": round(seconds, 1), "rate": round(rate, 4), **means})
            sums = {}
            if time.monotonic() - saved > options.save_seconds:
                _save(options, glimpse, optimizer, step + 1, seconds)
                saved = time.monotonic()
    if first < options.steps:
        _save(options, glimpse, optimizer, options.steps, spent + time.monotonic() - started)
    return glimpse


def update(
    options: Options, gatherer: Gatherer, glimpse: Glimpse, optimizer: torch.optim.Optimizer, step: int
) -> dict[str, float]:
    """One training step on pictures of its own; returns numbers for the log."""
    start = _FIRST_SEED + options.seed * _SEEDS_PER_RUN + step * options.pictures
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, float] = {}
    for seed in range(start, start + options.pictures):
        scene = make_scene(seed, "train", training_size(step))
        questions = training_questions(scene, step, _ASKED)
        target = gatherer.masks(scene, questions)
        logits = glimpse(gatherer.view(scene, questions))
        loss = mask_loss(logits, target) / options.pictures
        loss.backward()
        for name, value in {"loss": float(loss.detach()) * options.pictures, **measures(logits, target)}.items():
            totals[name] = totals.get(name, 0.0) + value / options.pictures
    torch.nn.utils.clip_grad_norm_(glimpse.parameters(), 1.0)
    optimizer.step()
    return totals


def measures(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Share of tokens that the glimpse marks, and the marks' recall and precision."""
    marked = (logits.detach() > 0).float()
    hit = float((marked * target).sum())
    return {
        "kept": float(marked.mean()),
        "recall": hit / max(1.0, float(target.sum())),
        "precision": hit / max(1.0, float(marked.sum())),
    }


def rate_at(share: float) -> float:
    """Learning rate relative to its peak, after `share` of the steps."""
    return min(share / _WARM_UP, 0.5 * (1 + math.cos(math.pi * share)))


def _log(options: Options) -> Path:
    return options.run / "glimpse.jsonl"


def _checkpoint(options: Options) -> Path:
    return options.run / "glimpse.pt"


def _save(options: Options, glimpse: Glimpse, optimizer: Any, step: int, seconds: float) -> None:
    state = {"glimpse": glimpse.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    save_state(_checkpoint(options), {**state, "settings": _settings(options)})


def _settings(options: Options) -> dict[str, Any]:
    """Settings that must be equal for a run to be continued from its checkpoint."""
    return {name: getattr(options, name) for name in ("steps", "pictures", "layer", "lr", "seed", "log_every")}


def _restore(options: Options, glimpse: Glimpse, optimizer: Any) -> tuple[int, float]:
    """Restore the checkpoint; returns the next step, and the seconds spent before it."""
    options.run.mkdir(parents=True, exist_ok=True)
    if not _checkpoint(options).exists():
        _log(options).unlink(missing_ok=True)
        return 0, 0.0
    state = load_state(_checkpoint(options), torch.device("cpu"))
    if state["settings"] != _settings(options):
        raise InvalidValueError(
            f"{options.run} holds a run with other settings, {state['settings']}; use those, or another folder."
        )
    glimpse.load_state_dict(state["glimpse"])
    optimizer.load_state_dict(state["optimizer"])
    rewind_log(_log(options), int(state["step"]))
    return int(state["step"]), float(state["seconds"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.glimpse.train", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/glimpse"), help="folder of checkpoint and log")
    parser.add_argument("--output", type=Path, default=Path("glimpse.safetensors"), help="file of the weights")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--pictures", type=int, default=2, help="in each step")
    parser.add_argument("--layer", type=int, default=1, help="decoder layers run before the glimpse looks")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    flags = parse(arguments)
    console = Console(stderr=True)
    try:
        options = _checked(flags)
        model, processor = load()
        gatherer = Gatherer(model, processor, options.layer)

        def show(steps: range) -> Any:
            return track(steps, "training", total=len(steps), console=console)

        glimpse = train(options, gatherer, show)
        words = sketch_of(model.get_input_embeddings().weight)
        flags.output.parent.mkdir(parents=True, exist_ok=True)
        save_trained(flags.output, Trained(frozen_copy(glimpse), model_sha256(None), words))
    except TodreError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    console.print(f"wrote {flags.output} and {_log(options)}", markup=False)
    return 0


def _checked(flags: argparse.Namespace) -> Options:
    return Options(flags.run, flags.steps, flags.pictures, flags.layer, flags.lr, flags.seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
