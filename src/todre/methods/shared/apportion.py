"""A total split by weights over parts of limited size, exact to the last token."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction


def apportion(total: int, weights: Sequence[float], caps: Sequence[int]) -> list[int]:
    """Split `total` over parts by weight, up to their caps, by largest remainder.

    Tokens that a full part cannot take go to the other parts, again by weight. The arithmetic is exact, so that equal
    weights tie exactly; ties go to the first part.

    Args:
        total: tokens to distribute; at most the sum of `caps` is distributed.
        weights: finite and at least 0. Parts of weight 0 get tokens only when all others are full, and then in
            proportion to their caps.
        caps: size of each part, in tokens.

    Returns:
        The quota of each part; their sum is `min(total, sum(caps))`.
    """
    quotas = [0] * len(caps)
    shares = [Fraction(weight) for weight in weights]
    left = min(total, sum(caps))
    open_ = [part for part, cap in enumerate(caps) if cap > 0]
    while open_ and left:
        whole = sum(shares[part] for part in open_)
        if not whole:
            shares = [Fraction(cap) for cap in caps]
            continue
        ideal = {part: left * shares[part] / whole for part in open_}
        full = [part for part in open_ if ideal[part] >= caps[part]]
        if not full:
            return _rounded(quotas, ideal, left)
        for part in full:
            quotas[part] = caps[part]
            left -= caps[part]
        open_ = [part for part in open_ if part not in full]
    return quotas


def apportion_between(total: int, weights: Sequence[float], floors: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Split `total` by weight, each part between its floor and its cap.

    Fractions are rounded by largest remainder. There is one factor c for all: a part gets c times its weight, but no
    less than its floor and no more than its cap. The arithmetic is exact; ties go to the first part.

    Args:
        total: tokens to distribute, at least the sum of `floors`; at most the sum of `caps` is distributed.
        weights: finite and at least 0. Parts of weight 0 get more than their floors only when all others are full, and
            then in proportion to what they lack.
        floors: least number of tokens of each part, at most its cap.
        caps: size of each part, in tokens.

    Returns:
        The quota of each part; their sum is `min(total, sum(caps))`.
    """
    shares = [Fraction(weight) for weight in weights]
    bounds = list(zip(shares, floors, caps, strict=True))

    def quotas_at(level: Fraction) -> list[Fraction]:
        return [min(max(level * share, Fraction(floor)), Fraction(cap)) for share, floor, cap in bounds]

    turns = sorted({Fraction(bound) / share for share, *both in bounds if share for bound in both})
    below = bisect.bisect_right(turns, Fraction(total), key=lambda level: sum(quotas_at(level), Fraction(0)))
    level = turns[below - 1] if below else Fraction(0)
    quotas = quotas_at(level)
    rises = sum(share for share, floor, cap in bounds if floor <= level * share < cap)
    if rises:
        quotas = quotas_at(level + (total - sum(quotas)) / rises)
    given = _rounded([0] * len(bounds), dict(enumerate(quotas)), int(sum(quotas)))
    lacks = [cap - quota for cap, quota in zip(caps, given, strict=True)]
    return [quota + more for quota, more in zip(given, apportion(total - sum(given), lacks, lacks), strict=True)]


def at_least_one(quotas: list[int]) -> list[int]:
    """The quotas with at least one token for each part, if the total suffices.

    Each missing token is taken from the part with the largest quota.
    """
    spread = list(quotas)
    for part, quota in enumerate(quotas):
        if quota == 0 and sum(quotas) >= len(quotas):
            spread[spread.index(max(spread))] -= 1
            spread[part] = 1
    return spread


def _rounded(quotas: list[int], ideal: dict[int, Fraction], left: int) -> list[int]:
    floors = {part: math.floor(share) for part, share in ideal.items()}
    order = sorted(ideal, key=lambda part: (floors[part] - ideal[part], part))
    for place, part in enumerate(order):
        quotas[part] = floors[part] + (place < left - sum(floors.values()))
    return quotas
