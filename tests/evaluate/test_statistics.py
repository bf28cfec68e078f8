"""Intervals and tests against closed forms, brute force, and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.evaluate.statistics import Bootstrap, mcnemar, wilson

Z = 1.959963984540054


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_the_shares_that_the_score_test_just_accepts(pair):
    right, asked = pair
    low, high = wilson(right, asked)
    assert 0.0 <= low <= right / asked + 1e-12
    assert right / asked - 1e-12 <= high <= 1.0
    for bound in (low, high):
        if 1e-9 < bound < 1 - 1e-9:
            score = abs(right / asked - bound) / math.sqrt(bound * (1 - bound) / asked)
            assert score == pytest.approx(Z, abs=1e-6)


def test_wilson_known_values():
    assert wilson(0, 10) == pytest.approx((0.0, Z * Z / (10 + Z * Z)))
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(("right", "asked"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_share(right, asked):
    with pytest.raises(InvalidValueError, match="no share"):
        wilson(right, asked)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=9))
def test_mcnemar_equals_counting_every_coin_sequence(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    flips = list(itertools.product((0, 1), repeat=only_first + only_second))
    observed = abs(only_first - only_second)
    extreme = sum(abs(2 * sum(flip) - len(flip)) >= observed for flip in flips)
    got = mcnemar(first, second)
    assert (got.only_first, got.only_second) == (only_first, only_second)
    assert got.p == pytest.approx(extreme / len(flips))


def test_mcnemar_stays_exact_for_thousands_of_pairs():
    got = mcnemar([True] * 1500 + [False] * 1400, [False] * 1500 + [True] * 1400)
    spread = math.erfc((99 / math.sqrt(2900)) / math.sqrt(2))
    assert got.p == pytest.approx(spread, rel=2e-3)


def test_bootstrap_equals_a_loop_that_draws_whole_pictures():
    rng = np.random.default_rng(4)
    clusters = rng.integers(0, 7, size=40)
    values = rng.normal(size=40)
    values[clusters == 3] = np.nan
    bootstrap = Bootstrap.over(clusters, resamples=300, seed=9)
    names = np.unique(clusters)
    means = []
    for draw in bootstrap.draws:
        drawn = []
        for name, times in zip(names, draw, strict=True):
            drawn += [value for value in values[clusters == name] if value == value] * int(times)
        if drawn:
            means.append(sum(drawn) / len(drawn))
    assert bootstrap.draws.sum(axis=1) == pytest.approx(np.full(300, len(names)))
    assert bootstrap.interval(values) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_bootstrap_is_wider_when_questions_of_a_picture_agree():
    picture = np.repeat(np.arange(40), 10)
    agreeing = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10).astype(float)
    clustered = Bootstrap.over(picture).interval(agreeing)
    naive = Bootstrap.over(np.arange(400)).interval(agreeing)
    assert clustered.high - clustered.low > 2.5 * (naive.high - naive.low)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    picture = np.repeat(np.arange(60), 4)
    inside = 0
    for trial in range(200):
        values = rng.normal(size=60).repeat(4) + rng.normal(size=240)
        low, high = Bootstrap.over(picture, resamples=400, seed=trial).interval(values)
        inside += low <= 0 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_bootstrap_repeats_itself_and_needs_two_pictures():
    values = np.arange(10.0)
    assert Bootstrap.over(np.arange(10)).interval(values) == Bootstrap.over(np.arange(10)).interval(values)
    with pytest.raises(InvalidValueError, match="at least two"):
        Bootstrap.over(np.zeros(5))
