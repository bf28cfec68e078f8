"""Greedy coverage on the CPU: exact, and with few of the gains.

A candidate's gain never rises while others are chosen, and neither does its computed value: every term of its sum falls
or stays, and sums of as many numbers are rounded alike. So a value from an earlier step is an upper bound. Only the
candidates with the highest bounds are computed anew, until the highest value of all is a new one. The picks equal
those of the plain loop, ties included.
"""

from __future__ import annotations

import numpy as np

from todre.select.cosine_blocks import Array, lowest

ROUNDING = 1e-6
"""Share of a candidate's first gain up to which a gain counts as 0.

It may be the rounding of float32.
"""

# Values that are computed anew at once: this many at first, then twice as many, up to the largest number.
_FIRST, _LARGEST = 8, 64


def lazy_order(columns: Array, k: int, weight: Array) -> list[int]:
    """The k picks in order, see `coverage_order`.

    Args:
        columns: (n, rows) float32, what each candidate gives to each row; contiguous.
        k: number of picks.
        weight: (n,) float64, factor on each candidate's gain, at least 0.
    """
    n = len(columns)
    gains = Gains(columns)
    parts = np.split(np.arange(n), range(_LARGEST, n, _LARGEST))
    first = np.concatenate([gains.of(part) for part in parts])
    least = ROUNDING * first
    value, computed = first * weight, np.zeros(n, np.int64)
    order: list[int] = []
    while len(order) < k:
        size, step = _FIRST, len(order)
        while computed[pick := int(value.argmax())] < step and value[pick] > 0:
            stale = lowest(np.where(computed < step, -value, np.inf), size)
            gain = gains.of(stale)
            value[stale] = np.where(gain > least[stale], gain, 0.0) * weight[stale]
            computed[stale] = step
            size = min(2 * size, _LARGEST)
        if value[pick] <= 0:
            return order + _heaviest(weight, order, k - step)
        order.append(pick)
        value[pick] = -np.inf
        gains.add(pick)
    return order


class Gains:
    """What candidates would add to the cover of all rows.

    The differences of float32 numbers are taken in float64, where they are exact, and so are most of their sums. So
    candidates that gain the same by symmetry tie.
    """

    def __init__(self, columns: Array) -> None:
        """Start without cover; `columns` are those of `lazy_order`."""
        self._columns = columns
        self._cover = np.zeros(columns.shape[1], np.float32)
        self._wide = self._cover.astype(np.float64)
        self._most = np.empty((_LARGEST, columns.shape[1]), np.float32)
        self._more = np.empty(self._most.shape, np.float64)

    def of(self, chosen: Array) -> Array:
        """Gains of up to 64 candidates `chosen` (m,), (m,) float64."""
        most, more = self._most[: len(chosen)], self._more[: len(chosen)]
        np.take(self._columns, chosen, axis=0, out=most, mode="clip")
        np.copyto(more, np.maximum(most, self._cover, out=most))
        more -= self._wide
        total: Array = more.sum(axis=1)
        return total

    def add(self, pick: int) -> None:
        """Cover each row as far as the candidate `pick` does."""
        np.maximum(self._cover, self._columns[pick], out=self._cover)
        self._wide[:] = self._cover


def _heaviest(weight: Array, chosen: list[int], count: int) -> list[int]:
    """The `count` candidates of largest weight that are not `chosen`."""
    left = weight.copy()
    left[chosen] = -np.inf
    return [int(index) for index in np.argsort(-left, kind="stable")[:count]]
