"""Greedy diversity: k-center (ToDRE v1, eq. 5) and max-sum (ToDRE v2).

Both grow a set from a pivot. Each token has one value, a fold over its cosines with the chosen tokens (the maximum for
k-center, the sum for max-sum), and the token with the lowest value is next. The plain loop reads the whole (n, d)
matrix once per pick. On the CPU, `k_center_bounds` and `max_sum_blocks` make the same picks with a fraction of
these reads. On an accelerator nothing is read back: `triton_kernels` runs on CUDA devices where Triton is installed,
`device_loops` on others.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from torch import Tensor

from todre.select.checks import as_count, as_pivots, as_queued_pivots, as_samples
from todre.select.device_loops import Rule, queued_order, queued_rows
from todre.select.k_center_bounds import nearest_order
from todre.select.max_sum_blocks import summed_order
from todre.select.rows import unit_rows

# Devices whose tokens are selected on the host: the CPU, and Apple's devices, which have no float64.
HOSTED = ("cpu", "mps")


def k_center(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Choose k tokens by greedy k-center under cosine similarity, from `pivot`.

    The next token is always the one whose highest cosine with the chosen tokens is lowest (ToDRE v1, arXiv
    2505.18757v1, eq. 5; Algorithm 1 there omits the normalisation and the exclusion of chosen tokens).

    Args:
        x: tokens, (n, d) or (b, n, d), any float dtype and device. Normalised in float32 (float64 if x is float64). A
            zero token has cosine 0 with every token.
        k: number of tokens to choose, 1 ≤ k ≤ n, the pivot included.
        pivot: index of the first token: an int or () tensor for all samples, or a (b,) LongTensor.

    Returns:
        int64 indices in ascending order on x's device, (k,) or (b, k). Ties go to the lowest index. A sample of a batch
        gets the same indices as alone.

    Raises:
        InvalidValueError: wrong type, shape or range, or a NaN or infinite value in x. On an accelerator values are not
            read back: tokens that are not finite are chosen first, and a pivot tensor there is brought into range.
    """
    return k_center_order(x, k, pivot).sort(-1).values


def k_center_order(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Indices of `k_center` in the order of choosing, the pivot first."""
    return _select(x, k, pivot, "k_center")


def max_sum(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Choose k tokens by greedy max-sum dispersion under cosine distance.

    The next token is always the one with the largest sum of distances `1 - cosine` to the chosen tokens (ToDRE v2,
    arXiv 2505.18757v2, stage 1). The sums are kept in float64.

    Arguments, result and errors are those of `k_center`.
    """
    return max_sum_order(x, k, pivot).sort(-1).values


def max_sum_order(x: Tensor, k: int, pivot: int | Tensor) -> Tensor:
    """Indices of `max_sum` in the order of choosing, the pivot first."""
    return _select(x, k, pivot, "max_sum")


@torch.no_grad()
def _select(x: Tensor, k: int, pivot: int | Tensor, rule: Rule) -> Tensor:
    """Choose tokens in each sample on its own.

    A batched product rounds differently, so picks would depend on the other samples.
    """
    samples = as_samples(x)
    n = x.shape[-2]
    k = as_count(k, n)
    shape = (k,) if x.ndim == 2 else (len(samples), k)
    if x.device.type not in HOSTED and samples:
        pivots = as_queued_pivots(pivot, len(samples), n, x.ndim == 3, x.device)
        return _on_device(x.reshape(-1, x.shape[-1]), len(samples), n, k, pivots, rule).reshape(shape)
    firsts = as_pivots(pivot, len(samples), n, batched=x.ndim == 3)
    grow = nearest_order if rule == "k_center" else summed_order
    picks = [grow(unit_rows(sample), k, first) for sample, first in zip(samples, firsts, strict=True)]
    return torch.tensor(picks, dtype=torch.int64, device="cpu").reshape(shape).to(x.device)


def _on_device(x: Tensor, samples: int, n: int, k: int, pivots: Tensor, rule: Rule) -> Tensor:
    """Picks of all samples in order, one sample after the other, (samples · k,).

    Nothing is read from the device.
    """
    numbers = torch.arange(samples, device=x.device, dtype=torch.int64)
    rows = queued_rows(x, numbers.repeat_interleave(n, output_size=samples * n))
    if x.device.type == "cuda" and x.dtype != torch.float64 and has_triton():
        from todre.select.triton_kernels import fused_orders

        return fused_orders(rows, [n] * samples, [k] * samples, pivots, rule)
    parts = [rows.sample(at * n, at * n + n) for at in range(samples)]
    return torch.cat([queued_order(part, k, pivots[at], rule) for at, part in enumerate(parts)])


@cache
def has_triton() -> bool:
    """True if Triton is installed, as it is with torch's CUDA builds on Linux."""
    return importlib.util.find_spec("triton") is not None
