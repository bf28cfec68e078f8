"""Means and differences with their intervals, ready for JSON."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from todre.evaluate.statistics import Bootstrap


def mean(values: ArrayLike, bootstrap: Bootstrap) -> dict[str, float | None]:
    """Mean of values (n,) and its 95 % interval; NaN is left out, and None stands where nothing else is there."""
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).all():
        return {"score": None, "low": None, "high": None}
    low, high = bootstrap.interval(array)
    return {"score": round(float(np.nanmean(array)), 4), "low": round(low, 4), "high": round(high, 4)}


def difference(values: ArrayLike, bootstrap: Bootstrap) -> dict[str, float | None]:
    """Mean of paired differences (n,) and its 95 % interval."""
    found = mean(values, bootstrap)
    return {"difference": found["score"], "low": found["low"], "high": found["high"]}
