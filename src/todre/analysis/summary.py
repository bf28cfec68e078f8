"""Means, correlations and their 95 % intervals over questions that share pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from todre.evaluate.statistics import Bootstrap
from todre.evaluate.table import ordered

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Picture and task of each question, with shared resampled pictures.

    All intervals come from the same resamples.

    Attributes:
        pictures: (n,) name of each question's picture.
        tasks: task to (n,) bool, True at its questions.
        bootstrap: the resampled pictures; None if there is only one picture, so that no interval can be given.
    """

    pictures: NDArray[np.str_]
    tasks: dict[str, NDArray[np.bool_]]
    bootstrap: Bootstrap | None

    @classmethod
    def of(cls, records: Sequence[dict[str, Any]], resamples: int = 2000, seed: int = 0) -> Table:
        """Table of records that have `picture` and `task`."""
        pictures = np.array([record["picture"] for record in records])
        names = np.array([record["task"] for record in records])
        several = len(set(pictures.tolist())) > 1
        bootstrap = Bootstrap.over(pictures, resamples, seed) if several else None
        return cls(pictures, {task: names == task for task in ordered(names.tolist())}, bootstrap)

    def mean(self, values: ArrayLike) -> dict[str, Any]:
        """Mean of (n,) values with its interval; None where no value is known.

        NaN marks questions to leave out.
        """
        array = np.asarray(values, dtype=np.float64)
        known = ~np.isnan(array)
        if not known.any():
            return {"n": 0, "mean": None, "low": None, "high": None}
        low = high = None
        if self.bootstrap is not None and len(set(self.pictures[known].tolist())) > 1:
            low, high = (round(edge, 6) for edge in self.bootstrap.interval(array))
        return {"n": int(known.sum()), "mean": round(float(array[known].mean()), 6), "low": low, "high": high}

    def correlation(self, first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
        """Pearson's correlation of two (n,) values over questions, resampled by picture.

        None where one of the two is constant. Resamples with a constant value are left out of the interval.
        """
        x, y = (np.asarray(values, dtype=np.float64) for values in (first, second))
        value = pearson(x, y)
        low = high = None
        if self.bootstrap is not None and value is not None:
            drawn = self.bootstrap.draws[:, self.bootstrap.owner]
            found = weighted_pearson(x, y, drawn)
            found = found[~np.isnan(found)]
            if len(found):
                low, high = (round(float(edge), 6) for edge in np.quantile(found, [0.025, 0.975]))
        return {"n": len(x), "r": value, "low": low, "high": high}


def pearson(x: Floats, y: Floats) -> float | None:
    """Pearson's correlation of (n,) values; None where one is constant."""
    value = float(weighted_pearson(x, y, np.ones((1, len(x))))[0])
    return None if np.isnan(value) else round(value, 6)


def weighted_pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """(m,) Pearson's correlations of (n,) values, one for each row of weights (m, n).

    NaN where one value is constant under the weights.
    """
    total = weights.sum(axis=1)
    mean_x, mean_y = (weights @ x) / total, (weights @ y) / total
    a, b = x[None] - mean_x[:, None], y[None] - mean_y[:, None]
    cross, own_x, own_y = ((weights * product).sum(axis=1) for product in (a * b, a * a, b * b))
    scale_x, scale_y = np.abs(x).max(initial=0.0) ** 2, np.abs(y).max(initial=0.0) ** 2
    varies = (own_x > 1e-20 * total * scale_x) & (own_y > 1e-20 * total * scale_y)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(varies, cross / np.sqrt(own_x * own_y), np.nan)
    return found


def ranks(values: Floats) -> Floats:
    """(n,) ranks from 0, ties at their mean.

    Spearman's correlation is Pearson's correlation of these ranks.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    means: Floats = (ends - (counts + 1) / 2).astype(np.float64)
    return means[place.reshape(-1)]
