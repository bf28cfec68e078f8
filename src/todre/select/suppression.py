"""Greedy suppression of tokens that are too much like a token chosen before them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def unsuppressed(cosines: Tensor, order: Tensor, limit: Callable[[int], float], most: int | None = None) -> Tensor:
    """Choose the first token that is left, delete those too much like it, and so on.

    Args:
        cosines: (n, n) on the CPU, as from `gram`.
        order: (m,) int64 on the CPU, indices of the tokens that take part, the best first.
        limit: for the 1-based number of a choice, the highest cosine to it at which a token is left.
        most: number of choices after which to stop; None goes on until no token is left.

    Returns:
        int64 indices of the chosen tokens on the CPU, in the order of choosing.
    """
    table, left = cosines.numpy(), order.numpy()
    chosen: list[int] = []
    while len(left) and (most is None or len(chosen) < most):
        chosen.append(int(left[0]))
        left = left[1:]
        left = left[table[chosen[-1], left] <= limit(len(chosen))]
    return torch.tensor(chosen, dtype=torch.int64, device="cpu")
