"""Pivots: first tokens of a selection that uses no [CLS] attention."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.select.checks import as_samples
from todre.select.isolated import most_isolated
from todre.select.rows import UnitRows, unit_rows


def pivot_center(x: Tensor) -> Tensor:
    """The token nearest to the centre.

    The pivot has the highest cosine to the mean of all unit tokens.

    Args:
        x: tokens, (n, d) or (b, n, d), any float dtype and device.

    Returns:
        int64 index on x's device, () or (b,); ties go to the lowest index.

    Raises:
        InvalidValueError: wrong type or shape, or a NaN or infinite value in x.
    """
    return _pivots(x, farthest=False)


def pivot_farthest(x: Tensor) -> Tensor:
    """The token with the largest sum of distances `1 - cosine` to all other tokens.

    A zero token lies at distance 1 from every other. Arguments, result and errors are those of `pivot_center`.
    """
    return _pivots(x, farthest=True)


@torch.no_grad()
def pivot_isolated(x: Tensor) -> Tensor:
    """The token whose nearest other token is farthest (DivPrune, arXiv 2503.02175).

    Identical tokens are at distance 0 of each other; a zero token lies at distance 1 from every other. Most cosines are
    not computed. Arguments, result and errors are those of `pivot_center`.
    """
    found = [most_isolated(unit_rows(sample)) for sample in as_samples(x)]
    return torch.tensor(found, dtype=torch.int64, device="cpu").reshape(x.shape[:-2]).to(x.device)


def pivot_random(x: Tensor, seed: int | torch.Generator) -> Tensor:
    """A token drawn uniformly.

    If `seed` is an int, each sample draws from a fresh generator with that seed, so that a sample of a batch gets the
    same pivot as alone. If it is a generator, the samples draw from it in order, once each.

    Args:
        x: tokens, (n, d) or (b, n, d); only the shape is read.
        seed: an int, or a torch.Generator on any device.

    Returns:
        int64 index on x's device, () or (b,).

    Raises:
        InvalidValueError: wrong type or shape of x, or a seed that is neither an int nor a generator.
    """
    count, n = len(as_samples(x)), x.shape[-2]
    if isinstance(seed, torch.Generator):
        drawn = torch.randint(n, (count,), generator=seed, device=seed.device, dtype=torch.int64)
    elif isinstance(seed, Integral) and not isinstance(seed, bool):
        generator = torch.Generator().manual_seed(int(seed))
        drawn = torch.randint(n, (1,), generator=generator, dtype=torch.int64, device="cpu").expand(count)
    else:
        raise InvalidValueError(f"seed must be an int or a torch.Generator, got {seed!r}; give an int.")
    return drawn.reshape(x.shape[:-2]).to(x.device)


@torch.no_grad()
def _pivots(x: Tensor, farthest: bool) -> Tensor:
    found = [_farthest(unit_rows(sample)) if farthest else _nearest(unit_rows(sample)) for sample in as_samples(x)]
    return torch.tensor(found, dtype=torch.int64, device="cpu").reshape(x.shape[:-2]).to(x.device)


def _nearest(rows: UnitRows) -> int:
    return int(_sums(rows).argmax())


def _farthest(rows: UnitRows) -> int:
    itself = rows.alive()  # a token's cosine with itself: 1, or 0 for a zero token
    return int((_sums(rows) - itself.to(torch.float64)).argmin())


def _sums(rows: UnitRows) -> Tensor:
    """Sum of each token's cosines with all tokens, itself included.

    Returns:
        (n,) float64 on the CPU.
    """
    return rows.products(rows.total()[None])[0].double()
