# ruff: noqa: ANN001, ANN202
# mypy: disable-error-code="untyped-decorator, no-untyped-def"
"""Selection as Triton kernels, for many samples of any lengths in one call.

Nothing is read back from the device. There are two ways, chosen by the number of tokens of a sample.

Up to `TABLE` tokens, all cosines of a sample are computed first (`_table`), and then one program per sample makes all
picks with the values in registers (`_walk`): a pick reads one row of the table from the level-2 cache and takes one
minimum. Products of 16-bit numbers are exact in float32, and norms are applied afterwards, so the table loses nothing;
float32 tokens are multiplied in full precision ("ieee", never TF32).

With more tokens the table (n² · 4 bytes) is too large, but reading the tokens takes long enough to hide a launch, so
each pick is one launch (`_meet`). Every program first reduces the minima that the previous launch left behind,
which gives the pick. It then folds the pick into its rows and leaves their minima.

Estimated times for (2880, 4096) → 288 on an H200 (4.8 TB/s; about 60 TFLOP/s in float32 outside the tensor cores, some
500 reached inside in bfloat16): reading the tokens once per pick would alone take 287 · 24 MB / 4.8 TB/s = 1.4 ms in
bfloat16, and twice that in float32. The table takes by symmetry half of 68 GFLOP, 0.1 ms on tensor cores and some 0.6
to 1 ms in float32, and a pick about 2 µs, so 0.6 ms for 287 picks. These figures are arithmetic: the kernels were
compiled for this GPU and run in Triton's interpreter, and are not yet timed.

Ties go to the lowest index, and identical tokens tie exactly: the table is read at their twins, and `_meet` sums every
row in the same order.
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from todre.select.checks import queued_numbers
from todre.select.device_loops import QueuedRows, Rule

TABLE = 8192
_TABLE_BYTES = 4 << 30
_ROWS, _COLUMNS = 64, 128
_TILE, _STEP = 128, 32


@triton.jit
def _table(tokens, scale, starts, corners, table, d, TILE: tl.constexpr, STEP: tl.constexpr, WIDEN: tl.constexpr):
    """Write the cosines of two tiles of tokens to the table and its mirror image."""
    sample = tl.program_id(2)
    first = tl.load(starts + sample)
    n = tl.load(starts + sample + 1) - first
    left = tl.program_id(0) * TILE
    right = tl.program_id(1) * TILE
    if (left <= right) & (right < n):
        i = left + tl.arange(0, TILE).to(tl.int64)
        j = right + tl.arange(0, TILE).to(tl.int64)
        total = tl.zeros([TILE, TILE], tl.float32)
        for column in range(0, d, STEP):
            c = column + tl.arange(0, STEP)
            a = tl.load(tokens + (first + i)[:, None] * d + c[None, :], (i < n)[:, None] & (c < d)[None, :], 0.0)
            b = tl.load(tokens + (first + j)[:, None] * d + c[None, :], (j < n)[:, None] & (c < d)[None, :], 0.0)
            if WIDEN:
                a, b = a.to(tl.float32), b.to(tl.float32)
            total = tl.dot(a, tl.trans(b), total, input_precision="ieee")
        total *= tl.load(scale + first + i, i < n, 0.0)[:, None] * tl.load(scale + first + j, j < n, 0.0)[None, :]
        inside = (i < n)[:, None] & (j < n)[None, :]
        corner = table + tl.load(corners + sample)
        tl.store(corner + i[:, None] * n + j[None, :], total, inside)
        if left < right:
            tl.store(corner + j[None, :] * n + i[:, None], total, inside)


@triton.jit
def _walk(
    table,
    twin,
    broken,
    starts,
    corners,
    places,
    order,
    SUM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Make all picks of one sample; its place in `order` starts with the pivot."""
    sample = tl.program_id(0)
    first = tl.load(starts + sample)
    n = tl.load(starts + sample + 1) - first
    place = tl.load(places + sample)
    k = tl.load(places + sample + 1) - place
    at = tl.arange(0, BLOCK)
    inside = at < n
    other = tl.load(twin + first + at, inside, first) - first
    urgent = tl.load(broken + first + at, inside, 0) != 0
    corner = table + tl.load(corners + sample)
    if SUM:
        value = tl.where(inside, 0.0, float("inf")).to(tl.float64)
    else:
        value = tl.where(inside, -float("inf"), float("inf")).to(tl.float32)
    pick = tl.load(order + place)
    for step in range(1, k):
        row = tl.load(twin + first + pick) - first
        cosine = tl.load(corner + row * n + other, inside, 0.0)
        if SUM:
            value += cosine.to(tl.float64)
        else:
            value = tl.maximum(value, cosine)
        value = tl.where(at == pick, float("inf"), value)
        pick = tl.argmin(tl.where(urgent & (value < float("inf")), -float("inf"), value), 0).to(tl.int64)
        tl.store(order + place + step, pick)


@triton.jit
def _meet(
    tokens,
    scale,
    broken,
    starts,
    places,
    values,
    lows,
    owners,
    order,
    step,
    d,
    blocks,
    SUM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Fold pick number `step` - 1 into a block of rows.

    The minima of the previous launch give the pick.
    """
    block, sample = tl.program_id(0), tl.program_id(1)
    first = tl.load(starts + sample)
    n = tl.load(starts + sample + 1) - first
    place = tl.load(places + sample)
    k = tl.load(places + sample + 1) - place
    count = tl.num_programs(1)
    if (block * ROWS < n) & (step <= k):
        if step == 1:
            pick = tl.load(order + place)
        else:
            b = tl.arange(0, BLOCKS)
            before = ((step - 1) % 2 * count + sample) * blocks
            lowest = tl.argmin(tl.load(lows + before + b, b < blocks, float("inf")), 0)
            pick = tl.load(owners + before + lowest)
            if block == 0:
                tl.store(order + place + step - 1, pick)
        if step < k:
            i = block * ROWS + tl.arange(0, ROWS).to(tl.int64)
            inside = i < n
            total = tl.zeros([ROWS, COLUMNS], tl.float32)
            for column in range(0, d, COLUMNS):
                c = column + tl.arange(0, COLUMNS)
                a = tl.load(tokens + (first + i)[:, None] * d + c[None, :], inside[:, None] & (c < d)[None, :], 0.0)
                b = tl.load(tokens + (first + pick) * d + c, c < d, 0.0)
                total += a.to(tl.float32) * b.to(tl.float32)[None, :]
            cosine = tl.sum(total, 1) * tl.load(scale + first + i, inside, 0.0) * tl.load(scale + first + pick)
            value = tl.load(values + first + i, inside, float("inf"))
            if SUM:
                value += cosine.to(tl.float64)
            else:
                value = tl.maximum(value, cosine)
            value = tl.where(i == pick, float("inf"), value)
            tl.store(values + first + i, value, inside)
            urgent = tl.load(broken + first + i, inside, 0) != 0
            seen = tl.where(urgent & (value < float("inf")), -float("inf"), value)
            after = (step % 2 * count + sample) * blocks + block
            tl.store(lows + after, tl.min(seen, 0))
            tl.store(owners + after, (block * ROWS + tl.argmin(seen, 0)).to(tl.int64))


@torch.no_grad()
def fused_orders(rows: QueuedRows, lengths: list[int], counts: list[int], pivots: Tensor, rule: Rule) -> Tensor:
    """Picks of all samples in order, one sample after the other.

    A sample's own length says how its picks are made, so they are those that it gets alone.

    Args:
        rows: the tokens of all samples, float32 or a 16-bit float.
        lengths: tokens of each sample.
        counts: picks of each sample, 1 ≤ count ≤ length.
        pivots: (samples,) int64 on the tokens' device, each sample's first pick; brought into range.
        rule: which value is folded.

    Returns:
        (sum of `counts`,) int64 on the tokens' device.
    """
    starts = [0, *itertools.accumulate(lengths)]
    found = [
        _of_run(rows.sample(starts[first], starts[end]), lengths[first:end], counts[first:end], pivots[first:end], rule)
        for first, end in _runs(lengths)
    ]
    return found[0] if len(found) == 1 else torch.cat(found)


def _runs(lengths: list[int]) -> list[tuple[int, int]]:
    """(first, end) of neighbouring samples that share a way.

    That is tables that fit into memory together, or launches.
    """
    runs: list[tuple[int, int]] = []
    held = 0
    for place, n in enumerate(lengths):
        small, cells = n <= TABLE, 4 * n * n
        if place and small == (lengths[place - 1] <= TABLE) and (not small or held + cells <= _TABLE_BYTES):
            runs[-1] = runs[-1][0], place + 1
            held += cells
        else:
            runs.append((place, place + 1))
            held = cells
    return runs


def _of_run(rows: QueuedRows, lengths: list[int], counts: list[int], pivots: Tensor, rule: Rule) -> Tensor:
    """Picks of samples that share a way."""
    device = rows.tokens.device
    starts, places = _running(lengths, device), _running(counts, device)
    order = torch.zeros(sum(counts), dtype=torch.int64, device=device)
    last = starts[1:] - starts[:-1] - 1
    order.index_copy_(0, places[:-1], torch.minimum(pivots.clamp(min=0), last))
    # Triton launches on the current GPU, whichever holds the tensors.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        if max(lengths) <= TABLE:
            _by_table(rows, lengths, starts, places, order, rule)
        else:
            _by_launches(rows, lengths, counts, starts, places, order, rule)
    return order


def _by_table(rows: QueuedRows, lengths: list[int], starts: Tensor, places: Tensor, order: Tensor, rule: Rule) -> None:
    corners = _running([n * n for n in lengths], order.device)
    table = torch.empty(sum(n * n for n in lengths), dtype=torch.float32, device=order.device)
    tiles = triton.cdiv(max(lengths), _TILE)
    d = rows.tokens.shape[1]
    # Triton's interpreter, which runs the kernels off a GPU, cannot multiply bfloat16.
    widen = order.device.type == "cpu" and rows.tokens.dtype == torch.bfloat16
    _table[(tiles, tiles, len(lengths))](
        rows.tokens, rows.scale, starts, corners, table, d, TILE=_TILE, STEP=_STEP, WIDEN=widen, num_warps=8
    )
    block = triton.next_power_of_2(max(lengths))
    broken = rows.broken.to(torch.int8)
    warps = min(max(block // 256, 4), 16)
    _walk[(len(lengths),)](
        table, rows.twin, broken, starts, corners, places, order, SUM=rule == "max_sum", BLOCK=block, num_warps=warps
    )


def _by_launches(
    rows: QueuedRows,
    lengths: list[int],
    counts: list[int],
    starts: Tensor,
    places: Tensor,
    order: Tensor,
    rule: Rule,
) -> None:
    device, total = order.device, rule == "max_sum"
    exact = torch.float64 if total else torch.float32
    values = torch.full((sum(lengths),), 0.0 if total else -torch.inf, dtype=exact, device=device)
    blocks = triton.cdiv(max(lengths), _ROWS)
    lows = torch.full((2, len(lengths), blocks), torch.inf, dtype=exact, device=device)
    owners = torch.zeros((2, len(lengths), blocks), dtype=torch.int64, device=device)
    broken, d = rows.broken.to(torch.int8), rows.tokens.shape[1]
    sizes = {"ROWS": _ROWS, "COLUMNS": _COLUMNS, "BLOCKS": triton.next_power_of_2(blocks)}
    for step in range(1, max(counts) + 1):
        _meet[(blocks, len(lengths))](
            rows.tokens,
            rows.scale,
            broken,
            starts,
            places,
            values,
            lows,
            owners,
            order,
            step,
            d,
            blocks,
            SUM=total,
            **sizes,
        )


def _running(sizes: list[int], device: torch.device) -> Tensor:
    """0 and the running sums of `sizes`, int64 on `device`."""
    return queued_numbers(torch.tensor([0, *sizes], dtype=torch.int64, device="cpu").cumsum(0), device)
