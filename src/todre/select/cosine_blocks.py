"""Cosines computed in blocks, ahead of a greedy loop that uses one row at a time.

Computing the cosines of one token with all n tokens reads the whole (n, d) matrix from memory once. Computing those of
sixteen tokens reads it only once as well. So whenever the cosines of a pick are missing, they are computed together
with those of the tokens that the loop will probably pick next, and kept until they are needed. A wrong guess costs time
and never changes a pick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from todre.select.rows import UnitRows

Array = NDArray[Any]
Guess = Callable[[int], Array]

_SMALLEST, _LARGEST = 24, 64
# Blocks that may fail in a row, and picks that are then computed alone before guessing is tried again.
_STRIKES, _ALONE = 3, 64


class CosineBlocks:
    """Cosines of picks with all tokens; each pick is requested once, one at a time."""

    def __init__(self, rows: UnitRows, picks: int) -> None:
        """Prepare for at most `picks` requests."""
        self._rows = rows
        self._left = picks
        self._room = max(rows.tokens.shape[1], _LARGEST)
        self._known: dict[int, Array] = {}
        self._size = self._hits = _SMALLEST
        self._strikes = self._alone = 0

    def row(self, pick: int, guess: Guess) -> Array:
        """Cosines of `pick` with every token, (n,).

        Args:
            pick: index of the token.
            guess: `guess(m)` returns up to m tokens that may be picked after `pick`.
        """
        self._left -= 1
        found = self._known.pop(pick, None)
        if found is not None:
            self._hits += 1
            return found
        later = self._later(pick, guess)
        if len(self._known) + len(later) >= self._room:
            self._known.clear()  # the kept cosines never outgrow the tokens themselves
        cosines: Array = self._rows.cosines(torch.tensor([pick, *later], dtype=torch.int64, device="cpu")).numpy()
        self._known.update(zip(later, cosines[1:], strict=True))
        first: Array = cosines[0]
        return first

    def _later(self, pick: int, guess: Guess) -> list[int]:
        """Tokens whose cosines are computed together with those of `pick`."""
        if self._alone > 0:
            self._alone -= 1
            return []
        self._adapt()
        room = min(self._size - 1, self._left)
        return [int(token) for token in guess(room) if token != pick and token not in self._known] if room else []

    def _adapt(self) -> None:
        """Set the block size by how often guesses were right.

        Blocks grow while guesses are right, shrink while guesses fail, and become single picks after several failures.
        """
        failed = self._hits < self._size // 12
        self._strikes = self._strikes + 1 if failed else 0
        if failed:
            self._size = max(self._size // 2, _SMALLEST)
        elif self._hits >= self._size // 2:
            self._size = min(2 * self._size, _LARGEST)
        if self._strikes > _STRIKES:
            self._strikes, self._alone = 0, _ALONE
        self._hits = 0


def lowest(value: Array, count: int) -> Array:
    """Up to `count` tokens with the lowest finite values, lowest first."""
    count = min(count, len(value))
    found = np.argpartition(value, count - 1)[:count] if count else np.empty(0, np.int64)
    found = found[value[found] < np.inf]
    return found[np.argsort(value[found], kind="stable")]
