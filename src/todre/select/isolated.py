"""The most isolated token on the CPU: exact, and mostly without all cosines.

A token is isolated if its highest cosine with another token is low. Any cosine of a token is a lower bound of its
highest one, and the highest cosine of a token that has met all others is known. So tokens whose bound is above the
lowest highest cosine known so far cannot be the answer. The tokens with the lowest bounds meet all others in blocks,
which raises the bounds of those, until no other token can be the answer. A token that has met all others need not meet
them again: at worst each pair is multiplied once.
"""

from __future__ import annotations

import numpy as np
import torch

from todre.select.cosine_blocks import Array, lowest
from todre.select.rows import UnitRows

# Tokens that meet all others at once: this share of them at first, and at most so many.
_SHARE, _LARGEST = 12, 256
_SMALLEST = 48


def most_isolated(rows: UnitRows) -> int:
    """Index of the token whose highest cosine with another is lowest.

    It is the first of equals.
    """
    n = len(rows.tokens)
    bound, met = _known_twins(rows), np.zeros(n, bool)
    size = min(max(n // _SHARE, _SMALLEST), _LARGEST)
    block = np.flatnonzero(bound < 1.0)[:: -(-n // size)]
    while len(block):
        others = np.flatnonzero(~met)
        cosines = _crossed(rows, block, others)
        bound[others] = np.maximum(bound[others], cosines.max(axis=0))
        bound[block] = np.maximum(bound[block], cosines.max(axis=1))
        np.minimum(bound, 1.0, out=bound)
        met[block] = True
        block = np.sort(lowest(np.where(~met & (bound < 1.0) & (bound <= bound[met].min()), bound, np.inf), size))
    certain = met | (bound >= 1.0)
    return int(np.where(certain, bound, np.inf).argmin())


def _known_twins(rows: UnitRows) -> Array:
    """Lower bounds before any product, (n,): 1 for tokens with a twin, else -inf."""
    n = len(rows.tokens)
    bound = np.full(n, -np.inf)
    if rows.twin is not None:
        shared = rows.twin.bincount(minlength=n)[rows.twin] > 1
        bound[(shared & rows.alive()).numpy()] = 1.0
    return bound


def _crossed(rows: UnitRows, block: Array, others: Array) -> Array:
    """Cosines of the tokens `block` with `others`, (block, others).

    `others` are ascending and hold the block; a token's cosine with itself is -inf. A pair inside the block is
    multiplied twice, and both tokens get the higher number: rounding must not choose between two tokens that are
    nearest to each other.
    """
    cosines = rows.between(torch.from_numpy(block), torch.from_numpy(others)).numpy().astype(np.float64)
    inside = np.searchsorted(others, block)
    among = np.maximum(cosines[:, inside], cosines[:, inside].T)
    np.fill_diagonal(among, -np.inf)
    cosines[:, inside] = among
    return cosines
