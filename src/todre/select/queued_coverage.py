"""Greedy coverage on an accelerator: queued steps, and nothing is read back.

Every step computes all gains, those of several samples together. Differences of float32 numbers are taken and summed
in float64, which is exact but for terms far below the others. So the zeros around a shorter sample change no gain.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from todre.select.lazy_coverage import ROUNDING

# Numbers handled at once, to bound memory.
_CELLS = 1 << 25
# Samples are padded to one shape unless that makes more than so many times their numbers.
_WIDER = 4


@torch.no_grad()
def queued_coverage(columns: Sequence[Tensor], counts: Sequence[int], weights: Sequence[Tensor]) -> list[Tensor]:
    """The picks of each sample in order, see `coverage_order`.

    Args:
        columns: for each sample, (n, rows) float32 on one device, what each candidate gives to each row. A
            candidate with a value that is not finite is chosen before all others, and covers nothing.
        counts: picks of each sample, 1 ≤ count ≤ n.
        weights: for each sample, (n,) float64, factor on each candidate's gain; NaN and less than 0 count as 0.

    Returns:
        (count,) int64 for each sample, on the device of `columns`.
    """
    longest, tallest = (max(part.shape[side] for part in columns) for side in (0, 1))
    padded = len(columns) * longest * tallest
    if len(columns) > 1 and padded > max(_WIDER * sum(part.numel() for part in columns), _CELLS):
        alone = zip(columns, counts, weights, strict=True)
        return [queued_coverage([part], [k], [weight])[0] for part, k, weight in alone]
    stacked = columns[0].new_zeros(len(columns), longest, tallest)
    weight = weights[0].new_full((len(columns), longest), -torch.inf)
    for at, (part, worth) in enumerate(zip(columns, weights, strict=True)):
        stacked[at, : part.shape[0], : part.shape[1]] = part
        weight[at, : len(worth)] = worth.nan_to_num(0.0).clamp(min=0)
    order = _grow(stacked, max(counts), weight)
    return [row[:k] for row, k in zip(order.unbind(0), counts, strict=True)]


def _grow(columns: Tensor, k: int, weight: Tensor) -> Tensor:
    """The picks of all samples, (b, k).

    Args:
        columns: (b, n, rows).
        k: number of picks.
        weight: (b, n), -inf where a sample has no candidate.
    """
    taken, broken = weight.isneginf(), ~columns.isfinite().all(dim=2)
    columns = columns.masked_fill(broken[:, :, None], 0)
    # Values of candidates that add nothing: below 0, the heaviest first.
    idle = -1 - weight.argsort(dim=1, descending=True, stable=True).argsort(dim=1).double()
    weight = weight.masked_fill(taken, 0)
    cover = columns.new_zeros(columns.shape[0], columns.shape[2], dtype=torch.float64)
    first = _gains(columns, cover)
    least = ROUNDING * first
    order = torch.zeros(len(columns), k, dtype=torch.int64, device=columns.device)
    for step in range(k):
        gain = _gains(columns, cover) if step else first
        worth = torch.where(gain > least, gain, 0) * weight
        value = torch.where(worth > 0, worth, idle).masked_fill(broken, torch.inf).masked_fill(taken, -torch.inf)
        pick = value.argmax(dim=1, keepdim=True)
        order[:, step : step + 1] = pick
        taken = taken.scatter(1, pick, True)
        added = columns.gather(1, pick[:, :, None].expand(-1, -1, columns.shape[2]))
        cover = torch.maximum(cover, added[:, 0].double())
    return order


def _gains(columns: Tensor, cover: Tensor) -> Tensor:
    """What each candidate would add to the cover (b, rows) float64, (b, n) float64."""
    at_once = max(_CELLS // max(cover.numel(), 1), 1)
    parts = columns.split(at_once, dim=1)
    return torch.cat([(part - cover[:, None]).clamp_(min=0).sum(dim=2) for part in parts], dim=1)
