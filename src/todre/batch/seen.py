"""Ids in a small space: sixteen bytes each, however long they are."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np


class Ids:
    """Ids that were added, each with a number; looked up once `freeze` was called.

    An id is kept as 128 bits of a hash, so two ids are taken for one with a probability of 1e-26 in a million.
    """

    def __init__(self) -> None:
        self._hashes, self._numbers = array("Q"), array("Q")
        self._high = self._low = self._order = np.zeros(0, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, id_: str, number: int = 0) -> None:
        """Add an id and the number that `find` is to return, from 0 to 2**64 - 1."""
        self._hashes.extend(_halves(id_))
        self._numbers.append(number)

    def freeze(self) -> None:
        """Sort what was added, for `find` and `twice`."""
        halves = np.array(self._hashes, dtype=np.uint64).reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        self._high, self._low = halves[order, 0], halves[order, 1]
        self._order = np.array(self._numbers, dtype=np.uint64)[order]

    def find(self, id_: str) -> int | None:
        """The number of an id; None if it was not added."""
        high, low = _halves(id_)
        place = int(np.searchsorted(self._high, np.uint64(high)))
        while place < len(self._high) and int(self._high[place]) == high:
            if int(self._low[place]) == low:
                return int(self._order[place])
            place += 1
        return None

    def twice(self) -> bool:
        """Whether an id was added more than once."""
        same = (self._high[1:] == self._high[:-1]) & (self._low[1:] == self._low[:-1])
        return bool(same.any())


def _halves(id_: str) -> tuple[int, int]:
    digest = hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
