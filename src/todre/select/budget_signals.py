"""Signals of how many tokens a picture needs, and how well those kept cover it.

All are pure functions of tokens as vectors, computed in float64 where sums are long. None of them draws at random, so a
picture gets the same number in a batch as alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.select.checks import as_samples, exact_tokens
from todre.select.diversity import k_center_order
from todre.select.likeness import likeness
from todre.select.pivots import pivot_center

# A direction with less than this share of the largest energy is rounding noise.
_NOISE = 1e-12
# Sums and cosines that fall short of a threshold by less than this have reached it.
_SHORT = 1e-6
# Rows of the table of cosines that are computed at once, to bound memory.
_ROWS = 1024


@torch.no_grad()
def energy_rank(x: Tensor, share: float) -> int:
    """The fewest directions that hold a share of the tokens' spectral energy.

    With σ the singular values of x in falling order it is the smallest k with Σ_{i≤k} σ_i² ≥ share · Σ σ².

    Args:
        x: tokens, (n, d), any float dtype and device.
        share: τ, in (0, 1].

    Returns:
        A count from 1 to min(n, d); 1 if all tokens are zero.

    Raises:
        InvalidValueError: x has the wrong type or shape, or holds a NaN or infinite value; or share is out of range.
    """
    _check_share(share)
    _one_sample(x)
    tokens = exact_tokens(x)
    squares = tokens @ tokens.T if len(tokens) <= tokens.shape[1] else tokens.T @ tokens
    energy = torch.linalg.eigvalsh(squares).flip(0).clamp(min=0)
    energy = energy.where(energy > _NOISE * energy[0], 0.0)
    held = energy.cumsum(0)
    return 1 + int((held < (share - _SHORT) * held[-1]).sum())


@torch.no_grad()
def coverage_count(x: Tensor, cosine: float) -> int:
    """The fewest tokens, by greedy k-center, that have all others within a cosine.

    The order of choosing is that of `k_center` from the token nearest to the centre. Greedy
    k-center takes next the token that those chosen cover worst. So the first k tokens cover all others within the
    highest cosine of the next token with them, and the answer is the first k at which that is at least `cosine`.

    Args:
        x: tokens, (n, d), any float dtype and device.
        cosine: τ, in (0, 1].

    Returns:
        A count from 1 to n. At 1.0 it is the number of different directions.

    Raises:
        InvalidValueError: x has the wrong type or shape or, on the CPU, a NaN or infinite value; or cosine is out of
            range.
    """
    _check_share(cosine)
    _one_sample(x)
    order = k_center_order(x, len(x), pivot_center(x))
    placed = x[order]
    reached = []
    for start in range(0, len(x), _ROWS):
        among = likeness(placed[start : start + _ROWS], placed[: start + _ROWS])
        reached.append(among.masked_fill(_not_before(among, start), -torch.inf).amax(dim=1))
    within = torch.cat(reached)[1:] >= cosine - _SHORT
    return 1 + int((within.cumsum(0) == 0).sum())


@torch.no_grad()
def coverage_radius(x: Tensor, kept: Tensor) -> float:
    """Distance, 1 - cosine, of the worst covered token from the nearest kept one.

    Args:
        x: tokens, (n, d), any float dtype and device.
        kept: (k,) int64 on x's device, the tokens that are kept.

    Returns:
        A number from 0 to 2: the largest, over the tokens that are not kept, of one minus the highest cosine with a
        kept token. 0 if all are kept, and 1 if none is.

    Raises:
        InvalidValueError: x has the wrong type or shape or, on the CPU, a NaN or infinite value.
    """
    _one_sample(x)
    if not len(kept):
        return 1.0
    nearest = [likeness(part, x[kept]).amax(dim=1) for part in x.split(_ROWS)]
    distance = (1.0 - torch.cat(nearest)).index_fill(0, kept, 0.0)
    return float(distance.max().clamp(min=0.0))


@torch.no_grad()
def normalised_entropy(weight: Tensor) -> float | None:
    """The entropy of weights, as a share of that of equal weights: H / ln n.

    Args:
        weight: (n,) numbers of at least 0, such as attention, on any device.

    Returns:
        A number from 0 (one weight has all) to 1 (all are equal); None with fewer than two weights, or if their sum is
        0 or is no number.
    """
    weight = weight.detach().to("cpu" if weight.device.type == "mps" else weight.device).double()
    total = float(weight.sum())
    if len(weight) < 2 or not 0.0 < total < float("inf"):
        return None
    entropy = float(torch.special.entr(weight / total).sum())
    return min(1.0, entropy / math.log(len(weight)))


def _one_sample(x: Tensor) -> list[Tensor]:
    samples = as_samples(x)
    if x.ndim != 2:
        raise InvalidValueError(f"x must have shape (n, d), got {tuple(x.shape)}; give the tokens of one picture.")
    return samples


def _check_share(share: float) -> None:
    if not 0.0 < share <= 1.0:
        raise InvalidValueError(f"The threshold must lie in (0, 1], got {share!r}; change it.")


def _not_before(among: Tensor, start: int) -> Tensor:
    """Pairs of which the column does not come before the row, (rows, columns) bool."""
    rows = torch.arange(start, start + len(among), device=among.device, dtype=torch.int64)
    columns = torch.arange(among.shape[1], device=among.device, dtype=torch.int64)
    return columns >= rows[:, None]
