"""Greedy coverage: candidates that give most to rows which are not yet covered.

This is the greedy algorithm for facility location, with a factor on each candidate's gain. On the CPU,
`lazy_coverage` computes few of the gains; on an accelerator, `queued_coverage` reads nothing back. Both make the same
picks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.select.checks import as_count
from todre.select.diversity import HOSTED
from todre.select.lazy_coverage import lazy_order
from todre.select.likeness import likeness
from todre.select.queued_coverage import queued_coverage


def coverage_order(matrix: Tensor, k: int, weight: Tensor | None = None) -> Tensor:
    """Choose k candidates that cover rows, in the order of choosing.

    Each row is covered as far as its best chosen candidate covers it, and not at all (0) at first. The next candidate
    is always the one with the largest weight_j · Σ_r max(0, matrix_rj - cover_r). Without weights the total cover is at
    least 1 - 1/e of the best that k candidates reach (greedy choice under a monotone submodular objective).

    Gains of at most a millionth of the candidate's first gain are rounding, and count as 0. Where no candidate gains
    anything more, those of largest weight are next.

    Args:
        matrix: (rows, n), how far each candidate covers each row; any float dtype and device. Values below 0 never
            count. A matrix whose transpose is contiguous is not copied.
        k: number of candidates to choose, 1 ≤ k ≤ n.
        weight: (n,), factor on each candidate's gain, finite and at least 0; None for 1.

    Returns:
        int64 indices (k,) on the matrix's device. Ties go to the lowest index. The matrix is rounded to float32, and
        gains are summed in float64.

    Raises:
        InvalidValueError: k out of range, wrong type or shape, a bad weight, or a NaN or infinite value in the matrix.
            On an accelerator values are not read back: candidates with values that are not finite are chosen first, and
            weights below 0 or NaN count as 0.
    """
    return coverage_orders([matrix], [k], None if weight is None else [weight])[0]


@torch.no_grad()
def coverage_orders(
    matrices: Iterable[Tensor], counts: Sequence[int], weights: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """`coverage_order` of several samples of any sizes, each as it would be alone.

    On the CPU one sample follows the other, so that `matrices` may make its tensors as they are needed. On an
    accelerator each step is one for all samples.

    Args:
        matrices: for each sample, (rows, n); all on one device.
        counts: for each sample, the number of candidates to choose.
        weights: for each sample, (n,); None for 1.

    Returns:
        (count,) int64 for each sample.

    Raises:
        InvalidValueError: see `coverage_order`; or the arguments hold different numbers of samples.
    """
    factors = [None] * len(counts) if weights is None else list(weights)
    chosen: list[Tensor] = []
    waiting: list[tuple[Tensor, int, Tensor]] = []
    for at, matrix in enumerate(matrices):
        if at >= min(len(counts), len(factors)):
            break
        columns = _columns(matrix)
        task = columns, as_count(counts[at], len(columns)), _factors(columns, factors[at])
        if columns.device.type in HOSTED:
            chosen.append(_hosted(*task))
        else:
            waiting.append(task)
    else:
        if len(chosen) + len(waiting) == len(counts) == len(factors):
            return queued_coverage(*map(list, zip(*waiting, strict=True))) if waiting else chosen
    raise InvalidValueError("matrices, counts and weights must hold one entry for each sample; make them as long.")


def facility_order(x: Tensor, k: int, weight: Tensor | None = None) -> Tensor:
    """Choose k tokens that stand for all, in the order of choosing.

    This is `coverage_order` of the matrix of cosines: the next token is always the one with the largest weight_j ·
    Σ_i max(0, cos(x_i, x_j) - highest cosine of x_i to a chosen token, at least 0).

    Args:
        x: tokens, (n, d), any float dtype and device. A zero token has cosine 0 with every token.
        k: number of tokens to choose, 1 ≤ k ≤ n.
        weight: (n,), factor on each token's gain, finite and at least 0; None for 1.

    Returns:
        int64 indices (k,) on x's device. Ties go to the lowest index.

    Raises:
        InvalidValueError: see `coverage_order`.
    """
    return facility_orders([x], [k], None if weight is None else [weight])[0]


def facility_orders(
    samples: Sequence[Tensor], counts: Sequence[int], weights: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """`facility_order` of several samples of any sizes, each as it would be alone.

    Arguments, result and errors are those of `coverage_orders`, but for `samples`: (n, d) each.
    """
    return coverage_orders((likeness(x).T for x in samples), counts, weights)


def _columns(matrix: object) -> Tensor:
    """What each candidate gives to each row, (n, rows), contiguous float32."""
    if not isinstance(matrix, Tensor) or not matrix.is_floating_point() or matrix.ndim != 2 or not matrix.shape[1]:
        got = f"{matrix.dtype} {tuple(matrix.shape)}" if isinstance(matrix, Tensor) else type(matrix).__name__
        raise InvalidValueError(f"matrix must be a floating-point tensor (rows, n) with n of at least 1, not {got}.")
    return matrix.detach().to(torch.float32).T.contiguous()


def _factors(columns: Tensor, weight: Tensor | None) -> Tensor:
    """The weights of a sample, (n,) float64, on the device that makes the choice."""
    device = torch.device("cpu") if columns.device.type in HOSTED else columns.device
    if weight is None:
        return torch.ones(len(columns), dtype=torch.float64, device=device)
    factors = weight.detach().to(device, torch.float64, non_blocking=device.type != "cpu")
    good = factors.shape == (len(columns),)
    if not good or (device.type == "cpu" and not bool((factors.isfinite() & (factors >= 0)).all())):
        raise InvalidValueError(
            f"weight must hold {len(columns)} finite numbers of at least 0, one for each candidate."
        )
    return factors


def _hosted(columns: Tensor, k: int, factors: Tensor) -> Tensor:
    """The picks of one sample, made on the CPU."""
    values = columns.cpu()
    if values.numel() and not all(bool(edge.isfinite()) for edge in torch.aminmax(values)):
        raise InvalidValueError(
            "matrix must be finite, but it holds NaN or infinite values; check where it comes from."
        )
    order = lazy_order(values.numpy(), k, factors.numpy())
    return torch.tensor(order, dtype=torch.int64, device=columns.device)
