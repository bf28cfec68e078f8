"""The Triton kernels in Triton's interpreter, and compiled for an absent GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from todre.select import k_center_order, max_sum_order
from todre.select import triton_kernels as fused
from todre.select.device_loops import queued_order, queued_rows
from todre.select.triton_kernels import fused_orders

ORDERS = {"k_center": k_center_order, "max_sum": max_sum_order}
both = pytest.mark.parametrize("rule", ["k_center", "max_sum"])
ways = pytest.mark.parametrize("way", ["table", "launches"])
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from todre.select import triton_kernels as fused

def check(kernel, pointers, numbers, constants):
    types = {name: "*" + kind for name, kind in pointers.items()} | {name: "i32" for name in numbers}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, types | {name: "constexpr" for name in constants}, places)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]

places = {"starts": "i64", "places": "i64", "order": "i64", "broken": "i8"}
check(fused._table, {"tokens": "bf16", "scale": "fp32", "starts": "i64", "corners": "i64", "table": "fp32"}, ["d"],
      {"TILE": fused._TILE, "STEP": fused._STEP, "WIDEN": False})
check(fused._walk, {**places, "table": "fp32", "twin": "i64", "corners": "i64"}, [], {"SUM": True, "BLOCK": 4096})
check(fused._meet, {**places, "tokens": "bf16", "scale": "fp32", "values": "fp32", "lows": "fp32", "owners": "i64"},
      ["step", "d", "blocks"], {"SUM": False, "ROWS": 16, "COLUMNS": 64, "BLOCKS": 256})
"""


def tokens(n, d, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) + 2 * torch.randn(1, d, generator=g)


def chosen(samples, counts, pivots, rule, way, monkeypatch):
    """Picks of samples of different lengths in one call."""
    monkeypatch.setattr(fused, "TABLE", 8192 if way == "table" else 0)
    lengths = [len(x) for x in samples]
    sample = torch.arange(len(samples)).repeat_interleave(torch.tensor(lengths))
    rows = queued_rows(torch.cat(samples), sample)
    return [part.tolist() for part in fused_orders(rows, lengths, counts, torch.tensor(pivots), rule).split(counts)]


@both
@ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_of_any_lengths_in_one_call(rule, way, dtype, monkeypatch):
    samples = [tokens(n, 40, seed=n).to(dtype) for n in (140, 30, 1, 33)]
    counts, pivots = [9, 30, 1, 7], [3, 29, 0, 32]
    found = chosen(samples, counts, pivots, rule, way, monkeypatch)
    for x, k, pivot, order in zip(samples, counts, pivots, found, strict=True):
        assert order == ORDERS[rule](x, k, pivot).tolist()
        rows = queued_rows(x, torch.zeros(len(x), dtype=torch.int64))
        assert order == queued_order(rows, k, torch.tensor(pivot), rule).tolist()


@both
@ways
def test_ties_twins_and_zero_tokens(rule, way, monkeypatch):
    """Signs and zeros in 16 dimensions, where every tie is a true tie.

    Identical tokens stand at places that round differently.
    """
    g = torch.Generator().manual_seed(2)
    exact = torch.randint(0, 2, (24, 16), generator=g).mul(2).sub(1).float()
    exact[torch.randint(0, 24, (5,), generator=g)] = 0
    base = tokens(12, 16, seed=4)
    twins = torch.cat([base, base, base[:5]])
    found = chosen([exact, twins], [24, 29], [5, 2], rule, way, monkeypatch)
    assert found[0] == ORDERS[rule](exact, 24, 5).tolist()
    place = {token: at for at, token in enumerate(found[1])}
    assert all(place[token - 12] < place[token] for token in range(12, 29))


@both
@ways
def test_tokens_that_are_not_finite_come_first(rule, way, monkeypatch):
    x = tokens(30, 8)
    x[21, 3], x[4, 0] = torch.nan, torch.inf
    rows = queued_rows(x, torch.zeros(30, dtype=torch.int64))
    found = chosen([x], [12], [9], rule, way, monkeypatch)[0]
    assert found[:3] == [9, 4, 21]
    assert found == queued_order(rows, 12, torch.tensor(9), rule).tolist()


def test_pivots_out_of_range_stay_inside_their_sample(monkeypatch):
    samples = [tokens(9, 8), tokens(5, 8, seed=1)]
    assert [order[0] for order in chosen(samples, [2, 2], [-4, 99], "k_center", "table", monkeypatch)] == [0, 4]


def test_the_kernels_compile_for_hopper():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILE], env=environment, check=True)


@both
def test_a_sample_is_chosen_from_in_its_own_way_in_any_company(rule, monkeypatch):
    """Neither longer samples nor many of them change whether its cosines come from a table."""
    asked = []
    monkeypatch.setattr(fused, "TABLE", 40)
    for name in ("_by_table", "_by_launches"):
        known = getattr(fused, name)
        monkeypatch.setattr(
            fused, name, lambda rows, lengths, *rest, known=known, name=name: (
                asked.append((name, lengths)), known(rows, lengths, *rest)
            )
        )  # fmt: skip
    samples = [tokens(n, 24, seed=n) for n in (30, 20, 50, 60, 40, 10)]
    monkeypatch.setattr(fused, "_TABLE_BYTES", 4 * (40**2 + 10**2) - 1)
    counts, pivots = [5, 4, 6, 3, 8, 2], [0] * 6
    lengths = [len(x) for x in samples]
    sample = torch.arange(6).repeat_interleave(torch.tensor(lengths))
    found = fused_orders(queued_rows(torch.cat(samples), sample), lengths, counts, torch.tensor(pivots), rule)
    assert asked == [
        ("_by_table", [30, 20]), ("_by_launches", [50, 60]), ("_by_table", [40]), ("_by_table", [10])
    ]  # fmt: skip
    for place, part in enumerate(found.split(counts)):
        rows = queued_rows(samples[place], torch.zeros(lengths[place], dtype=torch.int64))
        alone = fused_orders(rows, [lengths[place]], [counts[place]], torch.tensor([0]), rule)
        assert part.tolist() == alone.tolist()
