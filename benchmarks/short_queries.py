"""Time of attention of few queries to many keys: fused, as transformers calls it, beside plain products.

`python benchmarks/short_queries.py` writes `results/short-queries.json`. The shapes are those of `smol`'s decoder, 13
pictures with 450 columns; subjects take turns on one thread, and processor time is counted, which other programs
disturb less.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from turns import options, record, turns

from todre.hf.short_queries import BACKEND, attend
from todre.hf.versions import attention_function

PICTURES, HEADS, GROUPS, KEYS, WIDTH = 13, 9, 3, 450, 64
QUERIES = (1, 10, 32, 64)
DTYPES = (torch.bfloat16, torch.float32)


class Module(torch.nn.Module):
    """What transformers' function reads of an attention module."""

    num_key_value_groups = HEADS // GROUPS
    is_causal = True


def compare(queries: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """One row: milliseconds of both, and fused over plain, round by round."""
    generator = torch.Generator("cpu").manual_seed(0)

    def made(heads: int, columns: int) -> torch.Tensor:
        return torch.randn(PICTURES, heads, columns, WIDTH, generator=generator, dtype=torch.float32, device="cpu").to(
            dtype
        )

    query, key, value = made(HEADS, queries), made(GROUPS, KEYS), made(GROUPS, KEYS)
    mask = torch.ones(PICTURES, 1, queries, KEYS, dtype=torch.bool, device="cpu").tril(KEYS - queries)
    fused, module = attention_function(BACKEND), Module()
    assert fused is not None
    subjects: dict[str, Callable[[], Any]] = {
        "fused": lambda: fused(module, query, key, value, mask),
        "plain": lambda: attend(query, key, value, mask, None),
    }
    found = turns(subjects, rounds, calls=10)
    ratios = sorted(one / other for one, other in zip(found["fused"], found["plain"], strict=True))
    return {
        "queries": queries, "dtype": str(dtype).removeprefix("torch."), "rounds": rounds,
        "fused_ms": statistics.median(found["fused"]), "plain_ms": statistics.median(found["plain"]),
        "fused_over_plain": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1],
    }  # fmt: skip


def main() -> None:
    """Command line entry."""
    given = options(__doc__, "results/short-queries.json")
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows = [compare(queries, dtype, given.rounds) for dtype in DTYPES for queries in QUERIES]
    shape = {"pictures": PICTURES, "heads": HEADS, "groups": GROUPS, "keys": KEYS, "width": WIDTH}
    record(given.output, rows, {}, shape=shape)


if __name__ == "__main__":
    main()
