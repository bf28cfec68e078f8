"""Quotas by largest remainder, against a slow loop in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.methods.shared.apportion import apportion, apportion_between, at_least_one
from todre.methods.shared.budgets import shares

weights = st.one_of(st.just(0.0), st.floats(0.0, 1e6, allow_subnormal=False), st.integers(0, 5).map(float))
parts = st.lists(st.tuples(weights, st.integers(0, 9)), max_size=8)


def brute_force(total, weights, caps):
    """Fill the parts that overflow one at a time, then round what is left."""
    total = min(total, sum(caps))
    given, open_ = [Fraction(0)] * len(caps), [i for i in range(len(caps)) if caps[i]]
    exact = [Fraction(weight) for weight in weights]
    while open_ and sum(given) < total:
        left = total - sum(caps[i] for i in range(len(caps)) if caps[i] and i not in open_)
        if sum(exact[i] for i in open_) == 0:
            exact = [Fraction(cap) for cap in caps]
        whole = sum(exact[i] for i in open_)
        over = [i for i in open_ if left * exact[i] / whole >= caps[i]]
        if over:
            given[over[0]] = Fraction(caps[over[0]])
            open_.remove(over[0])
            continue
        for i in open_:
            given[i] = left * exact[i] / whole
    floors = [int(share) for share in given]
    order = sorted(range(len(caps)), key=lambda i: (floors[i] - given[i], i))
    for i in order[: total - sum(floors)]:
        floors[i] += 1
    return floors


@settings(max_examples=200, deadline=None)
@given(total=st.integers(0, 60), parts=parts)
def test_quotas_are_those_of_a_slow_loop(total, parts):
    weights, caps = [w for w, _ in parts], [c for _, c in parts]
    got = apportion(total, weights, caps)
    assert sum(got) == min(total, sum(caps))
    assert all(0 <= quota <= cap for quota, cap in zip(got, caps, strict=True))
    assert got == brute_force(total, weights, caps)


@settings(max_examples=100, deadline=None)
@given(total=st.integers(0, 60), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_weights_that_are_sizes_give_the_shares_of_parts(total, sizes):
    assert apportion(total, [float(size) for size in sizes], sizes) == shares(total, sizes)


@pytest.mark.parametrize(
    ("total", "weights", "caps", "expected"),
    [
        (5, [1.0, 1.0], [9, 9], [3, 2]),
        (5, [1.0, 3.0], [9, 2], [3, 2]),
        (4, [0.0, 1.0], [9, 2], [2, 2]),
        (3, [0.0, 0.0, 0.0], [1, 4, 1], [1, 2, 0]),
        (0, [1.0], [3], [0]),
        (7, [], [], []),
    ],
)
def test_quotas_by_hand(total, weights, caps, expected):
    assert apportion(total, weights, caps) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_each_part_gets_one_where_that_is_possible(quotas):
    got = at_least_one(quotas)
    assert sum(got) == sum(quotas)
    assert min(got) >= 1 or sum(quotas) < len(quotas)
    assert all(new <= max(old, 1) for old, new in zip(quotas, got, strict=True))


bounded = st.lists(st.tuples(weights, st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(parts=bounded, data=st.data())
def test_between_floors_and_caps_one_factor_explains_all_quotas(parts, data):
    weights, floors, caps = [w for w, *_ in parts], [min(a, b) for _, a, b in parts], [max(a, b) for _, a, b in parts]
    total = data.draw(st.integers(sum(floors), sum(caps) + 3))
    got = apportion_between(total, weights, floors, caps)
    assert sum(got) == min(total, sum(caps))
    assert all(low <= quota <= high for low, quota, high in zip(floors, got, caps, strict=True))
    # each quota, by itself, allows factors from (quota - 1)/weight to (quota + 1)/weight, or beyond at a bound
    free = [(Fraction(w), q, a, b) for w, q, a, b in zip(weights, got, floors, caps, strict=True) if w]
    least = [Fraction(q - 1) / w for w, q, low, _ in free if q > low]
    most = [Fraction(q + 1) / w for w, q, _, high in free if q < high]
    assert not least or not most or max(least) < min(most)
    others = [(q, low) for w, q, low in zip(weights, got, floors, strict=True) if not w]
    full = all(q == high for _, q, _, high in free)
    assert full or all(q == low for q, low in others)


def test_between_equal_bounds_is_plain():
    assert apportion_between(10, [1.0, 1.0], [0, 0], [9, 9]) == [5, 5]
    assert apportion_between(10, [1.0, 1.0, 8.0], [3, 0, 0], [9, 9, 9]) == [3, 1, 6]
    assert apportion_between(10, [1.0, 1.0, 8.0], [0, 0, 0], [9, 9, 2]) == [4, 4, 2]
    assert apportion_between(9, [0.0, 1.0], [1, 0], [9, 4]) == [5, 4]
    assert apportion_between(0, [], [], []) == []
