"""Costs of todre where it saves nothing: import, attach, forwards without pruning.

`python benchmarks/attach.py` runs the untouched model and the attached one in turn, on the same prompts, and writes
`results/attach.json`: medians with the 20 % and 80 % quantiles, and ratios paired within rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

import todre
from todre.bench.conditions import machine
from todre.bench.presets import preset
from todre.bench.prompts import Prompt, random_prompt
from todre.bench.random_models import build
from todre.bench.spread import ratios, spread
from todre.files import write_atomic
from todre.hf.calls import cache_argument, cache_of
from todre.hf.keywords import IDS, LOGITS_TO_KEEP, MASK, USE_CACHE

CASES: dict[str, tuple[todre.Method, bool]] = {
    "no method (none)": (todre.NoPruning(), True),
    "todre, retain 1.0": (todre.ToDRE(retain=1.0, stages=(1,)), True),
    "todre, text alone": (todre.ToDRE(retain=0.1), False),
}
"""By name, the method, and whether the prompt holds a picture."""


def seconds_of(device: torch.device, clock: Callable[[], float], call: Callable[[], object]) -> float:
    """Seconds of one call, the device's work included."""
    _wait(device)
    start = clock()
    call()
    _wait(device)
    return clock() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def forwards(model: Any, inputs: dict[str, Any], steps: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of one prefill, and of a step of decoding (mean, without the first)."""
    kept: dict[str, Any] = {}

    def prefill() -> None:
        kept["output"] = model(**inputs, **{LOGITS_TO_KEEP: 1, USE_CACHE: True})

    first = seconds_of(model.device, clock, prefill)
    cache, mask = cache_of(kept["output"]), inputs[MASK]
    token = inputs[IDS][:, -1:]

    def step() -> None:
        nonlocal mask
        mask = torch.cat([mask, torch.ones_like(token)], dim=1)
        model(**{IDS: token, MASK: mask}, **cache_argument(model, cache))

    step()
    each = seconds_of(model.device, clock, lambda: [step() for _ in range(steps)]) / steps
    return first, each


def without_picture(prompt: Prompt) -> dict[str, Any]:
    """The same number of columns, all of them text."""
    ids = prompt.inputs[IDS]
    words = torch.full_like(ids, 5)
    return {IDS: words, MASK: torch.ones_like(words)}


def case(model: Any, prompt: Prompt, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: the untouched and the attached model in turn."""
    method, pictures = CASES[name]
    inputs = prompt.inputs if pictures else without_picture(prompt)
    clock = {"wall": time.perf_counter, "thread": time.thread_time}[options.clock]
    samples: dict[str, list[tuple[float, float]]] = {"untouched": [], "attached": []}
    for number in range(options.warm_up + options.rounds):
        order = list(samples) if number % 2 else list(reversed(samples))
        for subject in order:
            with todre.prune(model, method) if subject == "attached" else nullcontext():
                measured = forwards(model, inputs, options.steps, clock)
            if number >= options.warm_up:
                samples[subject].append(measured)
    row: dict[str, Any] = {"case": name, "columns": int(inputs[IDS].shape[1])}
    for place, stage in enumerate(("prefill", "decode_step")):
        plain, attached = ([sample[place] * 1000 for sample in samples[each]] for each in samples)
        more = [mine - other for mine, other in zip(attached, plain, strict=True)]
        row[stage] = {
            "untouched_ms": spread(plain),
            "attached_ms": spread(attached),
            "more_ms": spread(more),
            "attached_over_untouched": ratios(attached, plain),
        }
    return row


def attaching(model: Any, rounds: int) -> dict[str, Any]:
    """Milliseconds of `attach` and of `detach`, after a first time."""
    spent: dict[str, list[float]] = {"attach_ms": [], "detach_ms": []}
    for number in range(rounds + 1):
        start = time.perf_counter()
        todre.attach(model, todre.ToDRE(retain=0.1))
        middle = time.perf_counter()
        todre.detach(model)
        end = time.perf_counter()
        if number:
            spent["attach_ms"].append((middle - start) * 1000)
            spent["detach_ms"].append((end - middle) * 1000)
    return {name: spread(values) for name, values in spent.items()}


def importing(rounds: int) -> dict[str, Any]:
    """Seconds of processes that import torch and a model class, and todre as well."""
    needed = "import torch; from transformers import LlavaNextForConditionalGeneration"
    programs = {"torch and a model class": needed, "the same and todre": needed + "; import todre; todre.prune"}
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            spent[name].append(time.perf_counter() - start)
    plain, more = (spent[name] for name in programs)
    differences = [mine - other for mine, other in zip(more, plain, strict=True)]
    return {"seconds": {name: spread(values) for name, values in spent.items()}, "more_s": spread(differences)}


def documents(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The document after each row."""
    device = torch.device(options.device)
    document: dict[str, Any] = {
        "format": "todre attach 1",
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "dtype": options.dtype,
        "clock": options.clock,
        "rounds": options.rounds,
        "steps": options.steps,
        "import": importing(min(options.rounds, 5)),
        "rows": [],
    }
    for name in options.presets.split(","):
        shape = preset(name)
        model = build(shape, device, getattr(torch, options.dtype))
        prompt = random_prompt(model, shape, 1, options.text_tokens)
        attach = attaching(model, 20)
        for each in CASES:
            document["rows"].append({"preset": name} | case(model, prompt, each, options) | attach)
            yield document


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="tiny,llava-next-260m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--text-tokens", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--steps", type=int, default=16, help="of decoding, in each round")
    parser.add_argument("--clock", choices=["wall", "thread"], default="wall", help="thread: this thread's time alone")
    parser.add_argument("--output", type=Path, default=Path("results/attach.json"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for document in documents(options):
        write_atomic(options.output, json.dumps(document, indent=1) + "\n")
        row = document["rows"][-1]
        shares = [f"{stage} {row[stage]['attached_over_untouched']['p50']:.4f}" for stage in ("prefill", "decode_step")]
        sys.stdout.write(f"{row['preset']}, {row['case']}: {', '.join(shares)} of the untouched model's time\n")


if __name__ == "__main__":
    main()
