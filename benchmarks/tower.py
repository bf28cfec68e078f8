"""Savings of reduction inside the vision tower before ToDRE, in time and FLOPs.

`python benchmarks/tower.py` builds a model with random weights, measures all methods one after the other in each
round, and writes `results/tower.json`: medians with the 20 % and 80 % quantiles, and ratios paired within rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from todre import Method, NoPruning, ToDRE, prune
from todre.bench.conditions import machine
from todre.bench.presets import preset
from todre.bench.prompts import Prompt, random_prompt
from todre.bench.random_models import build
from todre.files import write_atomic
from todre.flops import count_prompt
from todre.methods.compose import Compose
from todre.methods.crop_skip import CropSkip
from todre.methods.evit import EViT
from todre.methods.tome import ToMe
from todre.timing import stopwatch

CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
STAGES = ("encode", "first_token")


@dataclass(frozen=True)
class Call:
    """One prompt up to its first token: milliseconds by stage, tokens, FLOPs by part."""

    ms: dict[str, float]
    entered: int
    flops: dict[str, int] | None


def methods(retain: float, visual: int) -> dict[str, Method]:
    """Methods by name; all but the first leave the LLM the same share of tokens."""
    last = ToDRE(retain=max(1, round(retain * visual)), stages=(1,))
    towers: dict[str, Method] = {
        "tome 0.75": ToMe(retain=0.75),
        "tome 0.5": ToMe(retain=0.5),
        "tome 0.5 unweighted": ToMe(retain=0.5, proportional=False),
        "evit 0.5": EViT(retain=0.5),
        "crop-skip 3 of 4": CropSkip(retain=3),
        "crop-skip 2 of 4": CropSkip(retain=2),
        "crop-skip 1 of 4": CropSkip(retain=1),
    }
    return {"none": NoPruning(), "todre": last} | {
        f"{name} + todre": Compose(tower, last) for name, tower in towers.items()
    }


@torch.inference_mode()
def call(model: Any, prompt: Prompt, method: Method, clock: str) -> Call:
    """Run the prompt once."""
    with stopwatch(model, CLOCKS[clock]) as watch, prune(model, method) as report:
        model.generate(**prompt.inputs, max_new_tokens=1, do_sample=False)
    spent = watch.timings(report.select_seconds)
    flops = count_prompt(
        model.config,
        prompt.inputs,
        tiles=watch.tiles,
        text_tokens=report.text_tokens[0],
        visual_tokens=report.visual_tokens_per_layer[0],
        tower_tokens=report.tower_tokens,
    )
    parts = None if flops is None else {"encoder": flops.encoder, "first_token": flops.first_token}
    return Call({stage: getattr(spent, stage) for stage in STAGES}, report.visual_tokens_after[0], parts)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The 20 %, 50 % and 80 % quantiles, to four digits after the point."""
    numbers, at = (torch.tensor(each, dtype=torch.float64, device="cpu") for each in (values, (0.2, 0.5, 0.8)))
    low, middle, high = numbers.quantile(at)
    return {"p20": round(float(low), 4), "p50": round(float(middle), 4), "p80": round(float(high), 4)}


def row(name: str, calls: Sequence[Call], none: Sequence[Call], alone: Sequence[Call]) -> dict[str, Any]:
    """One method's numbers; ratios are of the same round."""

    def ratio(stage: str, others: Sequence[Call]) -> dict[str, float]:
        return quantiles([mine.ms[stage] / other.ms[stage] for mine, other in zip(calls, others, strict=True)])

    return {
        "method": name,
        "entered": calls[0].entered,
        "flops": calls[0].flops,
        "ms": {stage: quantiles([each.ms[stage] for each in calls]) for stage in STAGES},
        "encoder_share": quantiles([each.ms["encode"] / each.ms["first_token"] for each in calls]),
        "encode_over_todre": ratio("encode", alone),
        "first_token_over_todre": ratio("first_token", alone),
        "first_token_over_none": ratio("first_token", none),
        "rounds": [{stage: round(each.ms[stage], 3) for stage in STAGES} for each in calls],
    }


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The document after each round that counts."""
    device = torch.device(options.device)
    shape = preset(options.preset)
    model = build(shape, device, getattr(torch, options.dtype))
    prompt = random_prompt(model, shape, 1, options.text_tokens)
    compared = methods(options.retain, prompt.visual_tokens)
    calls: dict[str, list[Call]] = {name: [] for name in compared}
    for number in range(options.warm_up + options.rounds):
        for name, method in compared.items():
            done = call(model, prompt, method, options.clock)
            if number >= options.warm_up:
                calls[name].append(done)
        if number >= options.warm_up:
            yield document(options, model, prompt, compared, calls)


def document(
    options: argparse.Namespace, model: Any, prompt: Prompt, compared: dict[str, Method], calls: dict[str, list[Call]]
) -> dict[str, Any]:
    """Conditions and results, ready for JSON."""
    return {
        "what": "reduction inside the vision tower before ToDRE's stage 1: encoder and first token, milliseconds",
        "command": " ".join(["python benchmarks/tower.py", *sys.argv[1:]]),
        "conditions": {
            **machine(model.device),
            "preset": options.preset,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "dtype": options.dtype,
            "clock": options.clock,
            "threads": torch.get_num_threads(),
            "visual_tokens": prompt.visual_tokens,
            "text_tokens": prompt.text_tokens,
            "rounds": len(calls["none"]),
            "warm_up": options.warm_up,
            "order": "interleaved: every method once in each round",
            "methods": {name: method.to_dict() for name, method in compared.items()},
        },
        "rows": [row(name, mine, calls["none"], calls["todre"]) for name, mine in calls.items()],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="llava-next-260m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--retain", type=float, default=0.1, help="share of visual tokens left to the LLM")
    parser.add_argument("--text-tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="process: on a busy CPU, with one thread")
    parser.add_argument("--output", type=Path, default=Path("results/tower.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for done in measure(options):
        write_atomic(options.output, json.dumps(done, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
