"""Compiled decoding after stage 1 on a static cache: tokens, graphs and speed.

`python benchmarks/compiled_decode.py --device cuda` lets `generate` compile its decoding, with CUDA graphs where there
are any, and writes `results/compiled-decode.json`: whether the tokens are those of decoding uncompiled, how many graphs
and breaks there were and whether a second call added any, and milliseconds per token in turn with the untouched model
on a hand-shortened prompt, compiled likewise. It ends with an error where tokens differ or a graph broke.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters
from transformers import CompileConfig

import todre
from todre.bench.conditions import machine
from todre.bench.oracle import shorten
from todre.bench.presets import preset
from todre.bench.prompts import random_prompt
from todre.bench.random_models import build
from todre.bench.spread import ratios, spread
from todre.bench.workloads import Pruned, exact_length
from todre.files import write_atomic
from todre.hf.keywords import EMBEDS, MASK

FEW = 2
Generate = Callable[[int], torch.Tensor]


def compiling(device: torch.device) -> CompileConfig:
    """Compile settings: those `generate` takes on an accelerator, on the CPU as well."""
    if device.type == "cuda":
        return CompileConfig(fullgraph=True)
    config = CompileConfig(fullgraph=True, backend="eager", mode=None)
    config._compile_all_devices = True
    return config


def graphs() -> dict[str, int]:
    """What the compiler has counted so far."""
    return {
        "unique_graphs": counters["stats"]["unique_graphs"],
        "breaks": sum(counters["graph_break"].values()),
        "cuda_graphs_skipped": counters["inductor"]["cudagraph_skips"],
    }


def check(model: Any, inputs: dict[str, Any], method: todre.Method, new: int, static: dict[str, Any]) -> dict[str, Any]:
    """Facts: tokens with and without the compiler, graphs after one and two calls."""
    with todre.prune(model, method):
        plain = model.generate(**inputs, max_new_tokens=new)
        same, counted = [], []
        for _ in range(2):
            same.append(torch.equal(model.generate(**inputs, max_new_tokens=new, **static), plain))
            counted.append(graphs())
    return {"same_tokens": all(same), "after_first": counted[0], "after_second": counted[1]}


def per_token(device: torch.device, generate: Generate, new: int) -> float:
    """Milliseconds per token: what `new` tokens take more than a few.

    Both lengths run once untimed: a model attached to anew is compiled anew, and so is each length of the cache.
    """
    for count in (FEW, new):
        generate(count)
    spent = []
    for count in (FEW, new):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        generate(count)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - start)
    return (spent[1] - spent[0]) / (new - FEW) * 1000


def timed(
    model: Any, subjects: dict[str, tuple[AbstractContextManager[Any], Generate]], new: int, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds per token of each subject and round, after one warm-up round."""
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, (around, generate) in subjects.items():
            with around:
                spent = per_token(model.device, generate, new)
            if number:
                samples[name].append(spent)
    return samples


class Attached(AbstractContextManager[None]):
    """`todre.prune` that can be entered again."""

    def __init__(self, model: Any, method: todre.Method) -> None:
        self.model, self.method = model, method

    def __enter__(self) -> None:
        todre.attach(self.model, self.method)

    def __exit__(self, *_: object) -> None:
        todre.detach(self.model)


@torch.inference_mode()
def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole document."""
    device = torch.device(options.device)
    shape = preset(options.preset)
    model = build(shape, device, getattr(torch, options.dtype))
    method = todre.ToDRE(retain=options.retain, stages=(1,))
    static = {"cache_implementation": "static", "compile_config": compiling(device)}
    rows = []
    for batch in options.batch:
        prompt = random_prompt(model, shape, batch, options.text_tokens)
        short = shorten(Pruned(model, prompt, "todre", method))
        bound = {EMBEDS: short.embeds, MASK: short.mask}

        def pruned(new: int, inputs: dict[str, Any] = prompt.inputs) -> torch.Tensor:
            return model.generate(**inputs, max_new_tokens=new, **static)

        def shortened(new: int, inputs: dict[str, Any] = bound) -> torch.Tensor:
            return model.generate(**inputs, max_new_tokens=new, **static)

        with exact_length(model):
            facts = check(model, prompt.inputs, method, options.new_tokens, static)
            samples = timed(
                model,
                {"pruned": (Attached(model, method), pruned), "oracle": (nullcontext(), shortened)},
                options.new_tokens,
                options.rounds,
            )
        rows.append(
            {
                "batch": batch,
                "visual_tokens": prompt.visual_tokens,
                **facts,
                "decode_ms": {name: spread(values) for name, values in samples.items()},
                "decode_over_oracle": ratios(samples["pruned"], samples["oracle"]),
            }
        )
    return {
        "format": "todre compiled decode 1",
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "preset": options.preset,
        "dtype": options.dtype,
        "method": method.to_dict(),
        "new_tokens": options.new_tokens,
        "rounds": options.rounds,
        "compiler": "generate's own" if device.type == "cuda" else "graphs captured, and run as they are",
        "rows": rows,
    }


def main() -> int:
    """Command line entry; 1 where tokens differ or a graph broke or did not stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="llava-next-7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--retain", type=float, default=0.1)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--text-tokens", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/compiled-decode.json"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    document = measure(options)
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")
    for row in document["rows"]:
        sys.stdout.write(f"batch {row['batch']}: {json.dumps(row, indent=None)}\n")
    good = [
        row["same_tokens"] and not row["after_second"]["breaks"] and row["after_second"] == row["after_first"]
        for row in document["rows"]
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
