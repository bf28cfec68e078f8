"""Percentiles over rounds, and ratios of two subjects taken round by round."""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARES = {"p20": 0.2, "p50": 0.5, "p80": 0.8}


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """p20, p50 and p80, linear between neighbours; None where nothing was measured."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return {name: percentile(known, share) for name, share in SHARES.items()}


def ratios(values: Sequence[float | None], others: Sequence[float | None]) -> dict[str, float] | None:
    """Spread of the ratios of `values` to `others`, by round; None without a pair."""
    pairs = zip(values, others, strict=True)
    return spread([mine / other for mine, other in pairs if mine is not None and other])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, linear between neighbours.

    Args:
        ordered: at least one value, in ascending order.
        share: a share in [0, 1].
    """
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
