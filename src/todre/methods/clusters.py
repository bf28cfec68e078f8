"""Density peaks: group tokens around a few that are dense and far from anything denser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def density_peaks(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Group tokens by density peaks with nearest neighbours (DPC-kNN).

    A token's density is exp(-mean squared distance) to its `count` nearest, itself included, with distances divided by
    √d; its indicator is the distance to the nearest denser token, or the largest of all distances for the densest.
    Centres have the largest products of the two; the others join the nearest centre. Of equally dense tokens the first
    counts as denser, and ties go to the first. All n x n distances are held.

    Args:
        tokens: (n, d), any float dtype; computed in float32.
        count: of centres, 1 ≤ count ≤ n.

    Returns:
        (count,) int64 centres, best first, and (n,) int64 the number of each token's centre.
    """
    import torch

    x = tokens.float()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") / x.shape[1] ** 0.5
    nearest = distance.topk(count, dim=1, largest=False).values
    density = (-nearest.square().mean(dim=1)).exp()
    rank = density.argsort(descending=True, stable=True).argsort()
    denser = rank[None, :] < rank[:, None]
    indicator = torch.where(denser, distance, distance.max()).amin(dim=1)
    centres = (indicator * density).argsort(descending=True, stable=True)[:count]
    member = distance[centres].argmin(dim=0)
    member[centres] = torch.arange(count, device=member.device)
    return centres, member
