"""Measure a checkpoint's accuracy on the `val` split.

Run it as `python -m todre.tiny.validate --run DIR --stage whole`. The true answer is fed in, and an answer is
right if every token of it is predicted; greedy decoding would give the same verdict. A caption is right only if all of
it is right. The last line of the output is one JSON document.
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
    """Share of right answers for each task, on the `val` split.

    Args:
        parts: the model.
        stage: "decoder" or "whole".
        steps: number of batches.
        batch: pictures in a batch.
    """
    tally: Counter[str] = Counter()
    with torch.no_grad():
        for step in range(steps):
            which = Slice(0, step, batch, split="val", progress=1.0)
            tally.update(STAGES[stage].loss(parts, which)[1])
    tasks = [key.removeprefix("asked/") for key in tally if key.startswith("asked/")]
    return {task: round(tally[f"right/{task}"] / tally[f"asked/{task}"], 4) for task in tasks}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.tiny.validate", description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--stage", default="whole", choices=["decoder", "whole"])
    parser.add_argument("--checkpoint", help="stage whose checkpoint is read; by default the stage itself")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    parts = build_parts(0, torch.device("cpu"))
    state = load_state(options.run / f"{options.checkpoint or options.stage}.pt", torch.device("cpu"))
    for name, module in parts.modules().items():
        module.load_state_dict(state[name])
    result = {"step": state["step"], **accuracies(parts, options.stage, options.steps, options.batch)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
