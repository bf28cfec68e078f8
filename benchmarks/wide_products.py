"""Time of bfloat16's products: PyTorch's own beside those in float32 that are rounded.

`python benchmarks/wide_products.py` writes `results/wide-products.json`. The weights are those of `smol`'s MLP and of
its vocabulary; subjects take turns on one thread, and processor time is counted, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from selection import machine
from short_queries import turns
from torch.nn import functional

from todre.evaluate.wide_products import INSTRUCTIONS, linear
from todre.files import write_atomic

CHANNELS = 576
OUTPUTS = (1536, 49152)
ROWS = (8, 64, 1024)


def compare(rows: int, outputs: int, rounds: int) -> dict[str, Any]:
    """One row: milliseconds of three products, and PyTorch's own over the rounded one, round by round."""
    generator = torch.Generator("cpu").manual_seed(0)
    x = torch.randn(rows, CHANNELS, generator=generator, dtype=torch.float32, device="cpu")
    weight = torch.randn(outputs, CHANNELS, generator=generator, dtype=torch.float32, device="cpu")
    narrow, narrow_weight = x.bfloat16(), weight.bfloat16()
    found = turns(
        {
            "own": lambda: functional.linear(narrow, narrow_weight),
            "wide": lambda: linear(narrow, narrow_weight),
            "float32": lambda: functional.linear(x, weight),
        },
        rounds,
        calls=3,
    )
    ratios = sorted(one / other for one, other in zip(found["own"], found["wide"], strict=True))
    middle = {f"{name}_ms": sorted(times)[rounds // 2] for name, times in found.items()}
    return {
        "rows": rows, "channels": CHANNELS, "outputs": outputs, "rounds": rounds, **middle,
        "own_over_wide": ratios[rounds // 2], "lowest": ratios[0], "highest": ratios[-1],
    }  # fmt: skip


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path("results/wide-products.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = [compare(count, outputs, options.rounds) for outputs in OUTPUTS for count in ROWS]
    has = torch.cpu.get_capabilities()
    about = machine("cpu") | {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    about |= {name: bool(has.get(name)) for name in INSTRUCTIONS}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.output, json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
