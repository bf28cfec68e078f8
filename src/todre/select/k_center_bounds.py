"""Greedy k-center on the CPU: exact, and without most of the cosines.

A token's value is its highest cosine with the chosen tokens. Values never fall, and neither does the lowest of them,
which decides the next pick. So a token whose value was far above the lowest need not be updated: its old value is a
lower bound, and it is enough to know that this bound is above the lowest value. A block of picks is first rehearsed
among the few tokens of lowest value, whose cosines with each other cost little. The rehearsal tells how far the lowest
value will rise, hence which tokens matter meanwhile; only their cosines with the block's picks are computed, in one
matrix product. The picks equal those of the plain loop: a pick is accepted only while its value is lower than the
bounds of all tokens outside that product.
"""

from __future__ import annotations

import numpy as np
import torch

from todre.select.cosine_blocks import Array, lowest
from todre.select.rows import UnitRows

_CHOSEN = np.inf
_FIRST, _LARGEST = 8, 48
# A block of m picks is rehearsed among _WIDER · m tokens, and at least _NARROWEST.
_WIDER, _NARROWEST = 3, 64


def nearest_order(rows: UnitRows, k: int, pivot: int, offset: Array | None = None, weight: float = 1.0) -> list[int]:
    """The k picks in order, the pivot first.

    The next pick is always the token with the lowest `offset` + `weight` · highest cosine with the chosen tokens.

    Args:
        rows: tokens of the sample.
        k: number of picks.
        pivot: index of the first pick.
        offset: (n,) float64 added to the highest cosine; None for 0.
        weight: factor on the highest cosine if there is an `offset`.
    """
    state = _State(rows, pivot, offset, weight)
    size = _FIRST
    while (left := k - len(state.order)) > 0:
        size = min(size, left)
        done = state.block(size)
        size = min(2 * size, _LARGEST) if 2 * done >= size else max(size // 2, 1)
    return state.order


class _State:
    """A lower bound of every token's value, and the number of picks that it includes."""

    def __init__(self, rows: UnitRows, pivot: int, offset: Array | None, weight: float) -> None:
        n = len(rows.tokens)
        self._rows = rows
        self._offset = offset
        self._weight = weight
        self.order = [pivot]
        self._seen = np.ones(n, np.int64)
        first = torch.tensor([pivot], dtype=torch.int64, device="cpu")
        self._bound = self._worth(np.arange(n), rows.cosines(first).numpy()[0])
        self._bound[pivot] = _CHOSEN

    def block(self, size: int) -> int:
        """Pick up to `size` tokens, at least one, and return their number."""
        start = lowest(self._bound, max(_WIDER * size, _NARROWEST))
        self._refresh(np.flatnonzero(self._bound <= self._bound[start[-1]]))
        likely, rise = self._rehearse(start, size)
        near = np.flatnonzero(self._bound <= rise)
        if 2 * len(near) > len(self._bound):  # gathering would cost more than it saves
            near, rise = np.arange(len(self._bound)), np.inf
        self._refresh(near)
        near = near[self._bound[near] <= rise]
        first = near[self._bound[near].argmin()]  # certain: every token that could be lower is up to date
        likely = np.append(likely[likely != first][: size - 1], first)
        cosines = self._cosines(near, likely)
        known = dict(zip(likely.tolist(), cosines, strict=True))
        value, before = self._bound[near], len(self.order)
        while len(self.order) < before + len(known):
            at = int(value.argmin())
            pick = int(near[at])
            if pick not in known or value[at] > rise:
                break
            np.maximum(value, self._worth(near, known[pick]), out=value)
            value[at] = _CHOSEN
            self.order.append(pick)
        self._bound[near] = value
        self._seen[near] = len(self.order)
        return len(self.order) - before

    def _rehearse(self, tokens: Array, size: int) -> tuple[Array, float]:
        """The next `size` picks among `tokens` alone, and the highest value at a pick."""
        cosines = self._rows.among(torch.from_numpy(tokens)).numpy()
        value, found, rise = self._bound[tokens], [], -np.inf
        for _ in range(min(size, len(tokens))):
            at = int(value.argmin())
            rise = max(rise, float(value[at]))
            np.maximum(value, self._worth(tokens, cosines[at]), out=value)
            value[at] = _CHOSEN
            found.append(at)
        return tokens[found], rise

    def _refresh(self, tokens: Array) -> None:
        """Update `tokens` with all picks, in groups that missed about the same number."""
        missed = len(self.order) - self._seen[tokens]
        steps = np.ceil(np.log2(np.maximum(missed, 1)) / 2).astype(np.int64)
        for step in np.unique(steps[missed > 0]):
            group = tokens[(steps == step) & (missed > 0)]
            since = int(self._seen[group].min())
            worth = self._worth(group, self._cosines(group, np.array(self.order[since:])).max(axis=0))
            self._bound[group] = np.maximum(self._bound[group], worth)
        self._seen[tokens] = len(self.order)

    def _cosines(self, tokens: Array, picks: Array) -> Array:
        """Cosines of `picks` with `tokens`, (picks, tokens)."""
        return self._rows.between(torch.from_numpy(picks), torch.from_numpy(tokens)).numpy()

    def _worth(self, tokens: Array, cosines: Array) -> Array:
        if self._offset is None:
            return cosines
        return self._offset[tokens] + self._weight * cosines.astype(np.float64)
