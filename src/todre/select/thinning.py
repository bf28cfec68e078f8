"""Thinning a list of tokens until no more near duplicates have to leave (VisPruner, arXiv 2412.01818v2)."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.checks import as_count
from todre.select.gram import gram


@torch.no_grad()
def thin(x: Tensor, k: int, at_once: int = 8) -> Tensor:
    """Which k tokens of a list are left when those with a near duplicate leave, a few at a time.

    In each round every second token, from the first, is compared with the tokens between. Up to `at_once` whose best
    cosine is highest leave, as many as still have to. The others, by falling best cosine, and then the tokens between
    make the list of the next round, as in the authors' code.

    Args:
        x: tokens, (n, d), in the order of the list; any float dtype and device.
        k: how many are left, 1 ≤ k ≤ n.
        at_once: how many leave in a round at most, at least 1.

    Returns:
        int64 indices (k,) in ascending order on x's device. Ties leave from the front of the list.

    Raises:
        InvalidValueError: k out of range, or a NaN or infinite value in x.
    """
    k = as_count(k, len(x))
    left = torch.arange(len(x), dtype=torch.int64, device="cpu")
    cosines = gram(x)
    while (surplus := len(left) - k) > 0:
        halves, between = left[::2], left[1::2]
        likeness = cosines[halves][:, between].amax(dim=1)
        order = likeness.argsort(descending=True, stable=True)
        left = torch.cat([halves[order[min(at_once, surplus) :]], between])
    return left.sort().values.to(x.device)
