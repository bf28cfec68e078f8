"""Accuracy of a run's checkpoint on the `val` split: `python -m todre.tiny.validate --run DIR --stage whole`.

The true answer is fed in and every token of it must be predicted, which is what greedy decoding gives for a
right answer; a caption counts as right only when it is right as a whole. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import torch

from todre.tiny.runfiles import load_state
from todre.tiny.stages import STAGES, Parts, Slice, build_parts


def accuracies(parts: Parts, stage: str, steps: int, batch: int) -> dict[str, float]:
    """Share of right answers for each task over `steps` × `batch` pictures of the `val` split."""
    tally: Counter[str] = Counter()
    with torch.no_grad():
        for step in range(steps):
            which = Slice(0, step, batch, split="val", progress=1.0)
            tally.update(STAGES[stage].loss(parts, which)[1])
    tasks = [key.removeprefix("asked/") for key in tally if key.startswith("asked/")]
    return {task: round(tally[f"right/{task}"] / tally[f"asked/{task}"], 4) for task in tasks}


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m todre.tiny.validate", description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--stage", default="whole", choices=["decoder", "whole"])
    parser.add_argument("--checkpoint", help="stage whose checkpoint is read; by default the stage itself")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    parts = build_parts(0, torch.device("cpu"))
    state = load_state(given.run / f"{given.checkpoint or given.stage}.pt", torch.device("cpu"))
    for name, module in parts.modules().items():
        module.load_state_dict(state[name])
    result = {"step": state["step"], **accuracies(parts, given.stage, given.steps, given.batch)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
