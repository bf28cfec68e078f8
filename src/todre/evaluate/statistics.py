"""Intervals and tests for scores of questions that share pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from todre.errors import InvalidValueError

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: all intervals are of 95 %."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class McNemar(NamedTuple):
    """Questions that only the first or only the second got right, and the exact two-sided p."""

    only_first: int
    only_second: int
    p: float


def wilson(right: int, asked: int) -> Interval:
    """Wilson's score interval for a share of right answers (Wilson 1927, eq. 4, without continuity correction).

    Raises:
        InvalidValueError: nothing was asked, or more was right than was asked.
    """
    if asked < 1 or not 0 <= right <= asked:
        raise InvalidValueError(f"{right} right of {asked} asked is no share; ask at least one question.")
    share, square = right / asked, _Z * _Z
    centre = (share + square / (2 * asked)) / (1 + square / asked)
    half = _Z / (1 + square / asked) * math.sqrt(share * (1 - share) / asked + square / (4 * asked * asked))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's exact test on paired right / wrong answers: a two-sided binomial test of the discordant pairs.

    Args:
        first, second: (n,) bool, whether each got the question right.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**discordant))


@dataclass(frozen=True)
class Bootstrap:
    """Resampled sets of pictures, the same for everything that is compared.

    Attributes:
        owner: (n,) int64, which of the pictures each question belongs to, 0..pictures-1.
        draws: (resamples, pictures) float64, how often each picture was drawn.
    """

    owner: NDArray[np.int64]
    draws: NDArray[np.float64]

    @classmethod
    def over(cls, clusters: ArrayLike, resamples: int = 10_000, seed: int = 0) -> Bootstrap:
        """Draw whole clusters (pictures) with replacement: questions about one picture are not independent."""
        names, owner = np.unique(np.asarray(clusters), return_inverse=True)
        if len(names) < 2:
            raise InvalidValueError(f"{len(names)} picture is too few to resample; use at least two.")
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        return cls(owner.reshape(-1).astype(np.int64), draws.astype(np.float64))

    def interval(self, values: ArrayLike) -> Interval:
        """95 % percentile interval of the mean of `values` (n,); give differences for a paired comparison.

        NaN marks questions to leave out. Pictures that hold none of the others cannot make a mean, and resamples
        without any are left out as well.
        """
        given = np.asarray(values, dtype=np.float64)
        used = ~np.isnan(given)
        sums = np.bincount(self.owner, np.where(used, given, 0.0), minlength=self.draws.shape[1])
        counts = np.bincount(self.owner, used, minlength=self.draws.shape[1])
        drawn = self.draws @ counts
        means = (self.draws @ sums)[drawn > 0] / drawn[drawn > 0]
        low, high = np.quantile(means, [0.025, 0.975])
        return Interval(float(low), float(high))
