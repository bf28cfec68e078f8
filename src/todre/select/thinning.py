"""Thinning of a ranked list by near duplicates (VisPruner, arXiv 2412.01818v2)."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.select.checks import as_count
from todre.select.gram import gram


@torch.no_grad()
def thin(x: Tensor, k: int, at_once: int = 8) -> Tensor:
    """Choose the k tokens of a list that remain when near duplicates leave.

    In each round every second token, from the first, is compared with the tokens between. Of the compared tokens, those
    with the highest best cosine leave: at most `at_once`, and no more than still have to leave. The list of the next
    round holds the remaining compared tokens, by falling best cosine, and then the tokens between, as in the authors'
    code.

    Args:
        x: tokens, (n, d), in the order of the list; any float dtype and device.
        k: number of tokens that remain, 1 ≤ k ≤ n.
        at_once: most tokens that leave in a round, at least 1.

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
