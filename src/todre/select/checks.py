"""Checks of the arguments of selection functions."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from todre.errors import InvalidValueError


def as_samples(x: object) -> list[Tensor]:
    """The samples of `x`: one (n, d) tensor, or the b of a (b, n, d) tensor.

    Raises:
        InvalidValueError: `x` is no floating-point tensor of such a shape, or is empty.
    """
    if not isinstance(x, Tensor):
        raise InvalidValueError(f"x must be a torch tensor of tokens, got {type(x).__name__}; use torch.as_tensor(x).")
    if not x.is_floating_point():
        raise InvalidValueError(f"x must have a floating-point dtype, got {x.dtype}; convert it with x.float().")
    if x.ndim not in (2, 3):
        raise InvalidValueError(f"x must have shape (n, d) or (b, n, d), got {tuple(x.shape)}; reshape it.")
    if x.shape[-2] == 0 or x.shape[-1] == 0:
        raise InvalidValueError(f"x must hold at least one token of at least one dimension, got {tuple(x.shape)}.")
    return [x] if x.ndim == 2 else list(x)


def as_count(k: object, n: int) -> int:
    """`k` as an int with 1 ≤ k ≤ n.

    Raises:
        InvalidValueError: `k` is no int, or out of range.
    """
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InvalidValueError(f"k must be an int, got {k!r}; give the number of tokens to keep.")
    count = int(k)
    if not 1 <= count <= n:
        raise InvalidValueError(f"k must lie between 1 and the number of tokens, {n}, got {count}; change k.")
    return count


def exact_tokens(x: Tensor) -> Tensor:
    """Tokens in float64, on a device that has it; the device is waited for.

    Raises:
        InvalidValueError: a value is NaN or infinite.
    """
    tokens = x.detach().to("cpu" if x.device.type == "mps" else x.device).double()
    if not bool(tokens.isfinite().all()):
        raise InvalidValueError("x holds a value that is NaN or infinite; look at the vision tower's output and dtype.")
    return tokens


def as_pivots(pivot: object, samples: int, n: int, batched: bool) -> list[int]:
    """One pivot per sample.

    Args:
        pivot: an int, a () tensor, or for a batch a (samples,) tensor.
        samples: number of samples.
        n: number of tokens in a sample.
        batched: whether `pivot` may hold one pivot per sample.

    Raises:
        InvalidValueError: wrong type or shape, or an index outside 0..n - 1.
    """
    pivots = _pivot_list(pivot, samples, batched)
    for value in pivots:
        if not 0 <= value < n:
            raise InvalidValueError(f"pivot must be a token index from 0 to {n - 1}, got {value}; change the pivot.")
    return pivots


def as_queued_pivots(pivot: object, samples: int, n: int, batched: bool, device: torch.device) -> Tensor:
    """One pivot per sample on `device`, without reading a tensor on an accelerator.

    Args:
        pivot, samples, n, batched: see `as_pivots`.
        device: device of the result.

    Returns:
        (samples,) int64; the range of a pivot tensor on an accelerator is not checked.

    Raises:
        InvalidValueError: wrong type or shape, or an index outside 0..n - 1 that can be read without waiting.
    """
    if not isinstance(pivot, Tensor) or pivot.device.type == "cpu":
        pivots = as_pivots(pivot, samples, n, batched)
        return queued_numbers(torch.tensor(pivots, dtype=torch.int64, device="cpu"), device)
    _check_pivots(pivot, samples, batched)
    return pivot.to(device=device, dtype=torch.int64).expand(samples)


def queued_numbers(numbers: Tensor, device: torch.device) -> Tensor:
    """`numbers` on `device`, without waiting for the work that is queued there."""
    pinned = numbers.pin_memory() if device.type == "cuda" and torch.cuda.is_available() else numbers
    return pinned.to(device, non_blocking=True)


def _pivot_list(pivot: object, samples: int, batched: bool) -> list[int]:
    if isinstance(pivot, Tensor):
        _check_pivots(pivot, samples, batched)
        return [int(value) for value in pivot.expand(samples).tolist()]
    if isinstance(pivot, bool) or not isinstance(pivot, Integral):
        raise InvalidValueError(f"pivot must be an int or a LongTensor, got {pivot!r}; give the index of a token.")
    return [int(pivot)] * samples


def _check_pivots(pivot: Tensor, samples: int, batched: bool) -> None:
    if pivot.is_floating_point() or pivot.is_complex() or pivot.dtype == torch.bool:
        raise InvalidValueError(f"pivot must hold integers, got a tensor of {pivot.dtype}; use a LongTensor.")
    if pivot.ndim and not (batched and tuple(pivot.shape) == (samples,)):
        expected = f"() or ({samples},)" if batched else "()"
        raise InvalidValueError(f"pivot must have shape {expected} for this x, got {tuple(pivot.shape)}; reshape it.")
