"""Time of selecting diverse tokens, against a plain loop and the published way.

Subjects are interleaved, round by round, in one process, so that their ratios mean something on a busy machine as well.
The longest case, (100,000, 1,024) → 1,000, runs alone in a process of its own, whose peak memory is reported. With
`--device cuda` the kernels are timed beside torch's own queued path and the CPU. Writes one JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from selection_baselines import plain_loop, published_procedure, tokens
from torch import Tensor

import todre
from todre.files import write_atomic
from todre.select import diversity, k_center_order, max_sum_order
from todre.select.device_loops import queued_order, queued_rows

OURS = {"k_center": k_center_order, "max_sum": max_sum_order}
SHAPES = ["576x4096:58", "2880x1024:288", "2880x4096:288"]
LONG = "100000x1024:1000"


def shape(text: str) -> tuple[int, int, int]:
    """n, d and k of NxD:K."""
    size, k = text.split(":")
    n, d = size.split("x")
    return int(n), int(d), int(k)


def queued(x: Tensor, k: int, rule: Any) -> Tensor:
    """Torch's path for accelerators, whatever is installed."""
    rows = queued_rows(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
    return queued_order(rows, k, torch.zeros((), dtype=torch.int64, device=x.device), rule)


def subjects(x: Tensor, k: int, rule: str) -> dict[str, Callable[[], Tensor]]:
    """What is timed on one set of tokens."""
    found: dict[str, Callable[[], Tensor]] = {
        "todre": lambda: OURS[rule](x, k, 0),
        "plain loop": lambda: plain_loop(x, k, 0, rule),
        "published procedure": lambda: published_procedure(x, k, 0, rule),
    }
    if x.device.type != "cpu":
        host = x.cpu()
        found["todre, torch path"] = lambda: queued(x, k, rule)
        found["todre, cpu"] = lambda: OURS[rule](host, k, 0)
    return found


def timed(call: Callable[[], Tensor], device: str) -> tuple[float, Tensor]:
    """Seconds of one call, the device's work included, and its result."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def compare(case: str, kind: str, rule: str, device: str, dtype: torch.dtype, repeats: int) -> list[dict[str, Any]]:
    """Rows, one a subject: p20/p50/p80 in milliseconds, and the median over ours."""
    n, d, k = shape(case)
    x = tokens(kind, n, d).to(device, dtype)
    found = subjects(x, k, rule)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    picks: dict[str, Tensor] = {}
    for repeat in range(repeats + 1):
        for name, call in found.items():
            taken, result = timed(call, device)
            picks[name] = result.cpu()
            if repeat:
                seconds[name].append(taken)
    return [
        {
            "n": n, "d": d, "k": k, "tokens": kind, "rule": rule, "subject": name, **percentiles(values),
            "times_ours": statistics.median(a / b for a, b in zip(values, seconds["todre"], strict=True)),
            "equal_picks": int((picks[name] == picks["todre"]).sum()),
        }
        for name, values in seconds.items()
    ]  # fmt: skip


def percentiles(values: list[float]) -> dict[str, float]:
    """p20, p50 and p80 in milliseconds."""
    ordered = sorted(values)
    low, high = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.2, 0.8))
    return {"p20_ms": 1e3 * low, "p50_ms": 1e3 * statistics.median(values), "p80_ms": 1e3 * high}


def long_case(case: str, rule: str) -> dict[str, Any]:
    """One selection on the CPU, with the peak memory of its whole process."""
    n, d, k = shape(case)
    torch.set_num_threads(1)
    x = tokens("common", n, d)
    seconds, _ = timed(lambda: OURS[rule](x, k, 0), "cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "n": n, "d": d, "k": k, "tokens": "common", "rule": rule, "seconds": seconds,
        "peak_bytes": peak, "tokens_bytes": x.numel() * x.element_size(),
    }  # fmt: skip


def alone(case: str, rule: str) -> dict[str, Any]:
    """`long_case` in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--alone", case, rule], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def machine(device: str) -> dict[str, Any]:
    """What it ran on."""
    facts = {
        "processor": _processor(), "threads": torch.get_num_threads(), "python": platform.python_version(),
        "torch": torch.__version__, "todre": todre.__version__,
    }  # fmt: skip
    if device == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(), "triton": diversity.has_triton()}
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, help="NxD:K")
    parser.add_argument("--long", default=LONG, help="NxD:K of the case with peak memory; empty for none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/selection.json"))
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(long_case(*options.alone)))
        return
    torch.set_num_threads(options.threads)
    rows = [
        row
        for case in options.shapes
        for kind in ("common", "isotropic")
        for rule in OURS
        for row in compare(case, kind, rule, options.device, getattr(torch, options.dtype), options.repeats)
    ]
    document = {
        "device": options.device, "dtype": options.dtype, "repeats": options.repeats,
        "machine": machine(options.device),
        "rows": rows, "long": [alone(options.long, rule) for rule in OURS] if options.long else [],
    }  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")
    for row in rows:
        print("{n}x{d}->{k} {tokens} {rule} {subject}: {p50_ms:.1f} ms, {times_ours:.2f}x".format(**row))


if __name__ == "__main__":
    main()
