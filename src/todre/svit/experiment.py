"""Train SViT's gates on the shipped tower and measure what they cost.

    python -m todre.svit.experiment

The model is not changed. Gates on the tower's last blocks learn to keep the projector's output (mean squared error over
its variance) while a set share of tokens goes through. Then the whole model answers held-out questions without gates,
with gates, and by three other rules with the same numbers of tokens in each block: an equal number in every tile, an
equal number without a way back, and random tokens. The module writes `results/svit.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from todre.errors import InvalidValueError, TodreError
from todre.evaluate.conditions import NONE
from todre.evaluate.options import add_common, conditions_of_run, settings_from
from todre.evaluate.runner import check_groups
from todre.evaluate.session import Session, Settings
from todre.evaluate.table import Table
from todre.fields import Checked, Items, Range
from todre.fields.kinds import Count, Positive, Seed
from todre.files import write_atomic
from todre.hf.checkpoint_facts import feature_depth
from todre.hf.picture_features import any_resolution_features
from todre.scenes import make_scene
from todre.svit.gate import RATIO_WEIGHT, Choose, Chooser, FixedRate, Gate, came_back, gated, ratio_loss

_FIRST_SEED = 2 * 10**10


@dataclass(frozen=True)
class Options(Checked):
    """Options of the training, as the command line sets them.

    Args:
        steps: number of steps, with one picture each.
        targets: share of tokens that should go through each gated block, in order; the last share belongs to the last
            block that features pass through. The paper has 0.7, 0.49 and 0.343 for three stages of three blocks.
        lr: AdamW's peak rate; the rate falls to 0.
        seed: seed of weights, noise and pictures.
        log_every: steps between lines of the log.
    """

    steps: Count = 500
    targets: Annotated[tuple[Annotated[float, Range(above=0, most=1, called="a share")], ...], Items(least=1)] = (
        0.7,
        0.49,
        0.343,
    )
    lr: Positive = 2e-3
    seed: Seed = 0
    log_every: Count = 50


def gated_blocks(model: Any, count: int) -> list[nn.Module]:
    """The last `count` blocks of the tower that features pass through.

    Raises:
        InvalidValueError: the tower has fewer blocks.
    """
    layers = [one for one in model.model.vision_tower.modules() if type(one).__name__ == "CLIPEncoderLayer"]
    used = layers[: feature_depth(model.config, len(layers))]
    if not 1 <= count <= len(used):
        raise InvalidValueError(
            f"{count} gates do not fit a tower of {len(used)} blocks; give 1 to {len(used)} targets."
        )
    return used[len(used) - count :]


def train(model: Any, processor: Any, options: Options, show: Any = lambda steps: steps) -> tuple[nn.ModuleList, Any]:
    """Trained gates, and a log line for every `options.log_every` steps."""
    model.requires_grad_(False)
    blocks = gated_blocks(model, len(options.targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        gates = nn.ModuleList(Gate(model.config.vision_config.hidden_size) for _ in blocks)
    noise = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(gates.parameters(), lr=options.lr)
    log, recent = [], []
    for step in show(range(options.steps)):
        scene = make_scene(_FIRST_SEED + options.seed * 10**8 + step)
        inputs = processor.image_processor(scene.image, return_tensors="pt")
        error, ratio, passed = losses(model, inputs, blocks, Chooser(gates, noise), options.targets)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * (1 - step / options.steps)
        optimizer.zero_grad(set_to_none=True)
        (error + RATIO_WEIGHT * ratio).backward()
        optimizer.step()
        recent.append([float(error.detach()), float(ratio.detach()), *(float(one.detach().mean()) for one in passed)])
        if (step + 1) % options.log_every == 0:
            means = torch.tensor(recent, dtype=torch.float32, device="cpu").mean(dim=0).tolist()
            log.append({"step": step, "error": round(means[0], 4), "kept": [round(mean, 4) for mean in means[2:]]})
            recent = []
    return gates.eval().requires_grad_(False), log


def losses(
    model: Any, inputs: Any, blocks: Sequence[nn.Module], choose: Choose, targets: Sequence[float]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Losses of the gates, and the masks of tokens that went through.

    Returns:
        Mean squared error of the projected features over their variance, the ratio loss, and each block's mask.
    """
    with torch.no_grad():
        truth = any_resolution_features(model, inputs)
    with gated(blocks, choose) as gating:
        error = (any_resolution_features(model, inputs) - truth).square().mean() / truth.var()
    return error, ratio_loss(gating.passed, targets), gating.passed


def answers(settings: Settings, pictures: int, choose: Choose | None, count: int) -> dict[str, Any]:
    """Answers of the whole model under one kind of gating.

    Returns:
        Records of all questions, the share of tokens that went through each gated block, and the share of the tokens
        through each later block that went around an earlier block.
    """
    session = Session(settings)
    groups = range(pictures // settings.group_size)
    if choose is None:
        records = [one.to_dict() for group in groups for one in session.answer_group(group, NONE)[0]]
        return {"records": records, "kept": [1.0] * count, "came_back": [0.0] * (count - 1)}
    with gated(gated_blocks(session.loaded.model, count), choose) as gating:
        records = [one.to_dict() for group in groups for one in session.answer_group(group, NONE)[0]]
    passed = [torch.cat(gating.passed[place::count]) for place in range(count)]
    kept = [round(float(one.mean()), 4) for one in passed]
    return {"records": records, "kept": kept, "came_back": [round(share, 4) for share in came_back(passed)]}


def measure(settings: Settings, flags: argparse.Namespace, command: str, show: Any) -> dict[str, Any]:
    """The document of results; trains the gates, answers the questions and compares."""
    check_groups(settings, flags.pictures)
    options = Options(flags.steps, tuple(flags.targets), seed=flags.seed)
    loaded = Session(settings).loaded
    gates, log = train(loaded.model, loaded.processor, options, show)
    count = len(options.targets)

    def answered(choose: Choose | None) -> dict[str, Any]:
        return answers(settings, flags.pictures, choose, count)

    found = {"none": answered(None), "gates": answered(Chooser(gates))}
    shares = found["gates"]["kept"]
    found["fixed rate"] = answered(FixedRate(gates, shares, back=True))
    if sorted(shares, reverse=True) == shares:
        found["fixed rate, no way back"] = answered(FixedRate(gates, shares, back=False))
    found["random"] = answered(Chooser(None, torch.Generator().manual_seed(flags.seed), shares))
    table = Table.of({name: one["records"] for name, one in found.items()}, seed=flags.seed)
    rows = []
    for name, one in found.items():
        row = {
            "method": name,
            "kept": one["kept"],
            "came_back": one["came_back"],
            "all": table.mean(table.scores(name)),
        }
        row["tasks"] = {task: values["score"] for task, values in table.by_task(table.scores(name)).items()}
        if name != "none":
            row["against_none"] = table.difference([name], ["none"])
        if name not in ("none", "gates"):
            row["gates_minus"] = table.difference(["gates"], [name])
        rows.append(row)
    return {
        "what": "accuracy with gates in the vision tower (SViT), on held-out scenes",
        "command": command,
        "conditions": conditions_of_run(settings, flags, table),
        "targets": options.targets,
        "training": log,
        "rows": rows,
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.svit.experiment", description=__doc__)
    add_common(parser, pictures=40, processes=False, work=False)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.7, 0.49, 0.343], help="of the gated blocks")
    parser.add_argument("--output", type=Path, default=Path("results/svit.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    flags = parse(arguments)
    console = Console(stderr=True)
    command = " ".join(["python -m todre.svit.experiment", *(arguments if arguments is not None else sys.argv[1:])])
    try:
        document = measure(
            settings_from(flags), flags, command.strip(), lambda steps: track(steps, "training", console=console)
        )
        write_atomic(flags.output, json.dumps(document, indent=1) + "\n")
    except TodreError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    console.print(f"wrote {flags.output}", markup=False)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
