"""Greedy max-sum on the CPU: the plain loop, with cosines computed in blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from todre.select.cosine_blocks import Array, CosineBlocks, lowest
from todre.select.gram import gram_of
from todre.select.rows import UnitRows

_CHOSEN = np.inf
# So few tokens stay in the processor's cache: rows are then computed one by one or, where more than one token in
# `_SHARE` is picked, all at once by half a product.
_FEW, _SHARE = 640, 8
# A block of m picks is rehearsed among this many times m tokens.
_WIDER = 4


def summed_order(rows: UnitRows, k: int, pivot: int) -> list[int]:
    """The k picks in order, the pivot first.

    The next pick is always the token with the lowest sum of cosines with the chosen tokens, kept in float64.
    """
    value = np.zeros(len(rows.tokens))
    row = _rows_of(rows, k, value)
    order = [pivot]
    while len(order) < k:
        pick = order[-1]
        value[pick] = _CHOSEN
        value += row(pick)
        order.append(int(value.argmin()))
    return order


def _rows_of(rows: UnitRows, k: int, value: Array) -> Callable[[int], Array]:
    """How the cosines of a pick are found: computed alone, read from all, or ahead."""
    if len(value) > _FEW:
        blocks = CosineBlocks(rows, k - 1)
        return lambda pick: blocks.row(pick, partial(_rehearsed, rows, value, pick))
    if _SHARE * k > len(value):
        table: Array = gram_of(rows).numpy()

        def read(pick: int) -> Array:
            found: Array = table[pick]
            return found

        return read

    def alone(pick: int) -> Array:
        found: Array = rows.cosines(torch.tensor([pick], dtype=torch.int64, device="cpu")).numpy()[0]
        return found

    return alone


def _rehearsed(rows: UnitRows, value: Array, pick: int, count: int) -> Array:
    """The loop's next `count` picks after `pick`, if only tokens of low value existed."""
    tokens = np.concatenate([[pick], lowest(value, _WIDER * count)])
    cosines = rows.between(torch.from_numpy(tokens), torch.from_numpy(tokens)).numpy()
    inside = value[tokens]
    found, at = [], 0
    for _ in range(min(count, len(tokens) - 1)):
        inside += cosines[at]
        at = int(inside.argmin())
        inside[at] = _CHOSEN
        found.append(at)
    return tokens[found]
