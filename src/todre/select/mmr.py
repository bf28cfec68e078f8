"""Maximal marginal relevance: important tokens that are unlike those chosen before (IDPruner, arXiv 2602.13315)."""

from __future__ import annotations

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.select.checks import as_count
from todre.select.rows import unit_rows

_CHOSEN = float("-inf")


@torch.no_grad()
def mmr_order(x: Tensor, k: int, importance: Tensor, weight: float = 0.5) -> Tensor:
    """Choose k tokens by maximal marginal relevance, in the order of choosing.

    Next is always the token with the largest weight·importance - (1 - weight)·(highest cosine to a chosen token); the
    first is the most important.

    Args:
        x: tokens, (n, d), any float dtype and device. A zero token has cosine 0 with every token.
        k: how many to choose, 1 ≤ k ≤ n.
        importance: (n,), finite.
        weight: λ, from 0 (diversity alone after the first token) to 1 (importance alone).

    Returns:
        int64 indices (k,) on x's device. Ties go to the lowest index.

    Raises:
        InvalidValueError: k or importance out of range, or a NaN or infinite value in x.
    """
    k = as_count(k, len(x))
    worth = importance.detach().double().cpu()
    if worth.shape != (len(x),) or not bool(worth.isfinite().all()):
        raise InvalidValueError(f"importance must hold {len(x)} finite numbers, one for each token.")
    rows = unit_rows(x)
    nearest = torch.full((len(x),), -torch.inf, dtype=torch.float64)
    taken = torch.zeros(len(x), dtype=torch.bool)
    order = [int(worth.argmax())]
    while len(order) < k:
        taken[order[-1]] = True
        nearest = torch.maximum(nearest, rows.cosines(torch.tensor([order[-1]]))[0].double())
        value = weight * worth - (1 - weight) * nearest
        order.append(int(value.masked_fill(taken, _CHOSEN).argmax()))
    return torch.tensor(order, dtype=torch.int64, device=x.device)
