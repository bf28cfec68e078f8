"""Intervals and tests for scores of questions that share pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from todre.errors import InvalidValueError

_Z = 1.959963984540054
"""97.5 % point of the normal distribution, for two-sided 95 % intervals."""
_Z_POWER = 0.8416212335729143
"""80 % point of the normal distribution, for the power of a test."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class McNemar(NamedTuple):
    """Result of McNemar's test: discordant questions and the exact two-sided p.

    Attributes:
        only_first, only_second: questions that only the first, or only the second, got right.
        p: the exact two-sided p-value.
    """

    only_first: int
    only_second: int
    p: float


def wilson(right: float, total: int) -> Interval:
    """Wilson's score interval for a share of right answers.

    Wilson 1927, eq. 4, without continuity correction.

    Args:
        right: number of right answers; a mean over several draws need not be whole.
        total: number of questions.

    Raises:
        InvalidValueError: there is no question, or more right answers than questions.
    """
    if total < 1 or not 0 <= right <= total:
        raise InvalidValueError(f"{right} right of {total} asked is no share; ask at least one question.")
    share, square = right / total, _Z * _Z
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = _Z / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's exact test on paired right or wrong answers.

    It is a two-sided binomial test of the discordant pairs.

    Args:
        first, second: (n,) bool, whether the first or the second answered each question right.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**discordant))


def items_needed(discordant: float, difference: float) -> int | None:
    """Number of questions at which McNemar's test shows a difference.

    The level is 5 % and the power 80 %.

    Connor (1987), "Sample Size for Testing Differences in Proportions for the Paired-Sample Design", Biometrics 43(1),
    207–211, eq. 1: n = (z₁·√ψ + z₂·√(ψ − δ²))² / δ². It assumes independent questions; where several
    share a picture, more are needed.

    Args:
        discordant: ψ, the share of questions that only one of the two gets right.
        difference: δ, the difference of the two shares of right answers; not 0.

    Returns:
        n, or None where the difference is larger than ψ allows.
    """
    delta = abs(difference)
    if not 0.0 < delta <= discordant:
        return None
    root = _Z * math.sqrt(discordant) + _Z_POWER * math.sqrt(discordant - delta * delta)
    return math.ceil(root * root / (delta * delta))


@dataclass(frozen=True)
class Bootstrap:
    """Resampled sets of pictures, the same for everything that is compared.

    Attributes:
        owner: (n,) int64, the picture of each question, 0..pictures-1.
        draws: (resamples, pictures) float64, number of times that each picture was drawn.
    """

    owner: NDArray[np.int64]
    draws: NDArray[np.float64]

    @classmethod
    def over(cls, clusters: ArrayLike, resamples: int = 10_000, seed: int = 0) -> Bootstrap:
        """Draw whole clusters (pictures) with replacement.

        Questions about one picture are not independent.
        """
        names, owner = np.unique(np.asarray(clusters), return_inverse=True)
        if len(names) < 2:
            raise InvalidValueError(f"{len(names)} picture is too few to resample; use at least two.")
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        return cls(owner.reshape(-1).astype(np.int64), draws.astype(np.float64))

    def interval(self, values: ArrayLike) -> Interval:
        """95 % percentile interval of the mean of `values` (n,).

        For a paired comparison, give differences.

        NaN marks questions to leave out. Resamples in which every question is left out are left out too.
        """
        array = np.asarray(values, dtype=np.float64)
        used = ~np.isnan(array)
        sums = np.bincount(self.owner, np.where(used, array, 0.0), minlength=self.draws.shape[1])
        counts = np.bincount(self.owner, used, minlength=self.draws.shape[1])
        drawn = self.draws @ counts
        means = (self.draws @ sums)[drawn > 0] / drawn[drawn > 0]
        low, high = np.quantile(means, [0.025, 0.975])
        return Interval(float(low), float(high))

    def sums(self, parts: ArrayLike) -> NDArray[np.float64]:
        """(resamples, c) sums of `parts` (n, c) over each resample.

        Scores that are functions of sums are computed from them.
        """
        array = np.asarray(parts, dtype=np.float64)
        clusters = np.zeros((self.draws.shape[1], array.shape[1]))
        np.add.at(clusters, self.owner, array)
        drawn: NDArray[np.float64] = self.draws @ clusters
        return drawn


def percentiles(values: ArrayLike) -> Interval | None:
    """95 % percentile interval of resampled values; NaN is left out, None if all are."""
    array = np.asarray(values, dtype=np.float64)
    kept = array[~np.isnan(array)]
    if not len(kept):
        return None
    low, high = np.quantile(kept, [0.025, 0.975])
    return Interval(float(low), float(high))
