"""Max-min diversity from the most isolated token (DivPrune, arXiv 2503.02175)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from todre.select.checks import as_count, as_samples
from todre.select.diversity import HOSTED, k_center_order
from todre.select.gram import gram_of
from todre.select.isolated import most_isolated
from todre.select.k_center_bounds import nearest_order
from todre.select.pivots import pivot_isolated
from todre.select.rows import UnitRows, unit_rows


@torch.no_grad()
def max_min_order(x: Tensor, k: int) -> Tensor:
    """Choose k tokens that lie far apart, in the order of choosing.

    The first token is that of `pivot_isolated`; the next is always the one whose highest cosine with the chosen tokens
    is lowest, as in `k_center`. On the CPU, where all cosines take no more memory than the tokens, they are computed
    once, by half a product, and serve both rules.

    Args:
        x: tokens, (n, d) or (b, n, d), any float dtype and device. A zero token has cosine 0 with every token.
        k: number of tokens to choose, 1 ≤ k ≤ n.

    Returns:
        int64 indices on x's device, (k,) or (b, k). Ties go to the lowest index. A sample of a batch gets the same
        indices as alone.

    Raises:
        InvalidValueError: k out of range, wrong type or shape, or a NaN or infinite value in x.
    """
    samples = as_samples(x)
    k = as_count(k, x.shape[-2])
    if x.device.type not in HOSTED:
        return k_center_order(x, k, pivot_isolated(x))
    picks = [_farthest_order(unit_rows(sample), k) for sample in samples]
    return torch.tensor(picks, dtype=torch.int64, device="cpu").reshape(*x.shape[:-2], k).to(x.device)


def _farthest_order(rows: UnitRows, k: int) -> list[int]:
    n, d = rows.tokens.shape
    return _walk(gram_of(rows), k) if n <= d else nearest_order(rows, k, most_isolated(rows))


def _walk(cosines: Tensor, k: int) -> list[int]:
    """The k picks in order from all cosines, (n, n); their diagonal is overwritten."""
    table = cosines.fill_diagonal_(-torch.inf).numpy()
    order = [int(table.max(axis=1).argmin())]
    value = np.full(len(table), -np.inf, table.dtype)
    while len(order) < k:
        np.maximum(value, table[order[-1]], out=value)
        value[order[-1]] = np.inf
        order.append(int(value.argmin()))
    return order
