"""Density peaks: groups around dense tokens that are far from denser tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Distances held at once.
_HELD = 1 << 24


def density_peaks(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Group tokens by density peaks with nearest neighbours (DPC-kNN).

    A token's density is exp(-mean squared distance) to its `count` nearest tokens, itself included, with distances
    divided by √d. Its separation is the distance to the nearest denser token, or the largest of all distances for the
    densest token. Centres are the tokens with the largest product of the two; every other token joins the nearest
    centre. Of equally dense tokens the first counts as denser, and ties go to the first. Distances are held for a block
    of rows at a time; on the CPU, where one block holds all, they come from inner products.

    Args:
        tokens: (n, d), any float dtype; computed in float32.
        count: number of centres, 1 ≤ count ≤ n.

    Returns:
        (count,) int64, the centres, best first; and (n,) int64, for each token the number of its centre in that list.
    """
    import torch

    from todre.select import distances

    x = tokens.float()
    parts = torch.arange(len(x), device=x.device, dtype=torch.int64).split(max(_HELD // len(x), 1))
    one = None
    if len(parts) == 1:
        one = distances(x) / math.sqrt(x.shape[1]) if x.device.type == "cpu" else _distances(x, x)
    density, largest = torch.zeros_like(x[:, 0]), x.new_zeros(())
    for part in parts:
        distance = _distances(x[part], x) if one is None else one
        density[part] = (-distance.topk(count, dim=1, largest=False).values.square().mean(dim=1)).exp()
        largest = torch.maximum(largest, distance.max())
    rank = density.argsort(descending=True, stable=True).argsort()
    indicator = torch.zeros_like(density)
    for part in parts:
        distance = _distances(x[part], x) if one is None else one
        indicator[part] = torch.where(rank[None, :] < rank[part, None], distance, largest).amin(dim=1)
    centres = (indicator * density).argsort(descending=True, stable=True)[:count]
    member = (_distances(x[centres], x) if one is None else one[centres]).argmin(dim=0)
    member[centres] = torch.arange(count, device=member.device, dtype=torch.int64)
    return centres, member


def _distances(some: Tensor, x: Tensor) -> Tensor:
    """Distances of `some` (m, d) to all tokens, divided by √d, (m, n).

    Each pair is computed by itself, so that its value does not depend on the block.
    """
    import torch

    found: Tensor = torch.cdist(some, x, compute_mode="donot_use_mm_for_euclid_dist")
    return found / math.sqrt(x.shape[1])
