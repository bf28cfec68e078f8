"""Time of bfloat16's products: PyTorch's own beside those in float32 that are rounded.

`python benchmarks/wide_products.py` writes `results/wide-products.json`. The weights are those of `smol`'s MLP and of
its vocabulary; subjects take turns on one thread, and processor time is counted, which other programs disturb less.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from turns import options, record, turns

from todre.evaluate.wide_products import INSTRUCTIONS, linear

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
    given = options(__doc__, "results/wide-products.json")
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = [compare(count, outputs, given.rounds) for outputs in OUTPUTS for count in ROWS]
    has = torch.cpu.get_capabilities()
    record(given.output, rows, {name: bool(has.get(name)) for name in INSTRUCTIONS})


if __name__ == "__main__":
    main()
