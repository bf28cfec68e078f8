"""Selection rules written out from their formulas, with the whole matrix of pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from selection_baselines import published_procedure
from torch import Tensor


def cosines(x: Tensor) -> Tensor:
    """Cosines of all pairs, by one product of unit tokens."""
    unit = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return unit @ unit.T


def divprune(x: Tensor, k: int, weight: Tensor) -> Tensor:
    """Max-min over a matrix of distances; every step reads the rows of all chosen (arXiv 2503.02175)."""
    distance = 1.0 - cosines(x)
    order = torch.zeros(k, dtype=torch.int64, device=x.device)
    order[0] = distance.topk(2, dim=0, largest=False).values[1].argmax()
    for step in range(1, k):
        order[step] = distance.index_select(0, order[:step]).amin(dim=0).argmax()
    return order


def scope(x: Tensor, k: int, weight: Tensor) -> Tensor:
    """Weighted gain in coverage; every step computes all gains (arXiv 2510.24214)."""
    table = cosines(x)
    cover, order = torch.zeros_like(table[0]), torch.zeros(k, dtype=torch.int64, device=x.device)
    taken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step in range(k):
        gain = (table.masked_fill(taken[None], 0) - cover[:, None]).clamp(min=0).sum(dim=0) * weight
        pick = gain.masked_fill(taken, -torch.inf).argmax()
        order[step] = pick
        taken[pick] = True
        cover = torch.maximum(cover, table[pick])
    return order


def dpp(x: Tensor, k: int, weight: Tensor) -> Tensor:
    """Fast greedy MAP over the whole kernel, in float32 (arXiv 1709.05135)."""
    kernel = weight[:, None] * cosines(x) * weight
    factor, gain = kernel.new_zeros(k, len(x)), kernel.diagonal().clone()
    order = torch.zeros(k, dtype=torch.int64, device=x.device)
    for step in range(k):
        pick = gain.argmax()
        row = (kernel[pick] - factor[:step, pick] @ factor[:step]) / gain[pick].sqrt()
        factor[step] = row
        gain = gain - row.square()
        gain[pick] = -torch.inf
        order[step] = pick
    return order


def mmr(x: Tensor, k: int, weight: Tensor) -> Tensor:
    """Half the importance less half the highest cosine with a chosen token (arXiv 2602.13315)."""
    table = cosines(x)
    order = torch.full((k,), int(weight.argmax()), dtype=torch.int64, device=x.device)
    for step in range(1, k):
        value = 0.5 * weight - 0.5 * table[order[:step]].amax(dim=0)
        value[order[:step]] = -torch.inf
        order[step] = value.argmax()
    return order


def density_peaks(x: Tensor, k: int, weight: Tensor) -> Tensor:
    """Centres by density and distance to a denser token, from a matrix of distances.

    Those of unit tokens are those of tokens √d times as long, divided by √d.
    """
    count = max(k // 10, 1)
    distance = torch.cdist(x, x)
    density = (-distance.topk(count, dim=1, largest=False).values.square().mean(dim=1)).exp()
    apart = torch.where(density[None] > density[:, None], distance, distance.max()).amin(dim=1)
    return (apart * density).topk(count).indices


PLAIN: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    "divprune": divprune,
    "scope": scope,
    "k_center": lambda x, k, weight: published_procedure(x, k, 0, "k_center"),
    "max_sum": lambda x, k, weight: published_procedure(x, k, 0, "max_sum"),
    "dpp": dpp,
    "mmr": mmr,
    "density_peaks": density_peaks,
}
