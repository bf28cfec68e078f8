"""Maximal marginal relevance: important tokens that are unlike chosen ones.

The rule of IDPruner (arXiv 2602.13315).
"""

from __future__ import annotations

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.select.checks import as_count
from todre.select.device_loops import queued_order, queued_rows
from todre.select.k_center_bounds import nearest_order
from todre.select.rows import unit_rows


@torch.no_grad()
def mmr_order(x: Tensor, k: int, importance: Tensor, weight: float = 0.5) -> Tensor:
    """Choose k tokens by maximal marginal relevance, in the order of choosing.

    The next token is always the one with the largest weight·importance - (1 - weight)·(highest cosine to a chosen
    token); the first is the most important.

    Args:
        x: tokens, (n, d), any float dtype and device. A zero token has cosine 0 with every token.
        k: number of tokens to choose, 1 ≤ k ≤ n.
        importance: (n,), finite.
        weight: λ, from 0 (diversity alone after the first token) to 1 (importance alone).

    Returns:
        int64 indices (k,) on x's device. Ties go to the lowest index.

    Raises:
        InvalidValueError: k or importance out of range, or a NaN or infinite value in x.
    """
    k = as_count(k, len(x))
    if x.device.type not in ("cpu", "mps"):
        return _queued(x, k, importance, weight)
    worth = importance.detach().double().cpu()
    if worth.shape != (len(x),) or not bool(worth.isfinite().all()):
        raise InvalidValueError(f"importance must hold {len(x)} finite numbers, one for each token.")
    first = int(worth.argmax())
    order = nearest_order(unit_rows(x), k, first, offset=-weight * worth.numpy(), weight=1 - weight)
    return torch.tensor(order, dtype=torch.int64, device=x.device)


def _queued(x: Tensor, k: int, importance: Tensor, weight: float) -> Tensor:
    """`mmr_order` on an accelerator, where no value is read back.

    Importance is not checked, and NaN counts as 0.
    """
    if importance.shape != (len(x),):
        raise InvalidValueError(f"importance must hold {len(x)} finite numbers, one for each token.")
    worth = importance.detach().to(x.device, torch.float64, non_blocking=True).nan_to_num(0.0)
    rows = queued_rows(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
    return queued_order(rows, k, worth.argmax(), "k_center", offset=-weight * worth, weight=1 - weight)
