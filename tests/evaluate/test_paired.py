"""How many questions show a difference, intervals of scores that are functions of sums, and draws."""

import math

import numpy as np
import pytest

import todre
import todre.errors
from todre.evaluate.conditions import Condition
from todre.evaluate.grid import grid
from todre.evaluate.statistics import Bootstrap, items_needed, percentiles
from todre.methods.random_deep import RandomDeep
from todre.methods.shared.seeds import draws_at_random, reseeded


def power(n, discordant, difference):
    """Of McNemar's test with z = 1.96 on n questions, by adding up every outcome."""
    more, less = (discordant + difference) / 2, (discordant - difference) / 2
    total = 0.0
    for m in range(n + 1):
        few = math.comb(n, m) * discordant**m * (1 - discordant) ** (n - m)
        if few < 1e-12:
            continue
        share = more / (more + less)
        total += few * sum(
            math.comb(m, k) * share**k * (1 - share) ** (m - k)
            for k in range(m + 1)
            if m and abs(2 * k - m) / math.sqrt(m) >= 1.96
        )
    return total


@pytest.mark.parametrize(("discordant", "difference"), [(0.5, 0.2), (0.3, 0.15)])
def test_so_many_questions_have_the_power(discordant, difference):
    n = items_needed(discordant, difference)
    assert power(n, discordant, difference) == pytest.approx(0.8, abs=0.03)
    assert items_needed(discordant, -difference) == n


def test_a_known_number_of_questions():
    """ψ = 0.2, δ = 0.1: ((1.959964·√0.2 + 0.841621·√0.19) / 0.1)² = 154.4 by hand."""
    assert items_needed(0.2, 0.1) == 155
    assert items_needed(0.05, 0.1) is None
    assert items_needed(0.1, 0.0) is None


def test_sums_over_resamples_are_those_of_drawn_rows():
    rng = np.random.default_rng(0)
    owner = rng.integers(0, 7, size=40)
    parts = rng.normal(size=(40, 3))
    bootstrap = Bootstrap.over(owner, resamples=20, seed=3)
    names = np.unique(owner)
    for row, sums in enumerate(bootstrap.sums(parts)):
        by_hand = sum(
            bootstrap.draws[row, place] * parts[owner == name].sum(axis=0) for place, name in enumerate(names)
        )
        assert sums == pytest.approx(by_hand)


def test_percentiles_leave_out_what_is_undefined():
    low, high = percentiles([np.nan, *np.linspace(0, 1, 101)])
    assert (low, high) == pytest.approx((0.025, 0.975))
    assert percentiles([np.nan]) is None


RANDOM_INSIDE = todre.Compose(todre.ToDRE(retain=0.5, stages=(1,)), RandomDeep(retain=10, seed=1))


@pytest.mark.parametrize("method", [todre.RandomTokens(seed=1), RandomDeep(seed=1), RANDOM_INSIDE])
def test_draws_differ_by_group_and_seed_wherever_the_seed_stands(method):
    def seeds(method):
        return tuple(part.seed for part in getattr(method, "methods", (method,)))

    assert draws_at_random(method)
    groups = {seeds(Condition("c", method).method_for(group)) for group in range(20)}
    assert len(groups) == 20
    assert seeds(Condition("c", method).method_for(3)) in groups
    other = reseeded(method, lambda seed: seed + 1)
    assert not groups & {seeds(Condition("c", other).method_for(group)) for group in range(20)}
    assert type(other) is type(method)


def test_a_seed_that_is_not_used_makes_no_draws():
    assert not draws_at_random(todre.ToDRE())
    assert draws_at_random(todre.ToDRE(pivot="random"))
    assert not draws_at_random(todre.NoPruning())


def test_the_grid_is_methods_by_budgets_by_draws(tmp_path):
    from todre.methods import registry

    file = tmp_path / "mine.json"
    registry.save(todre.ToDRE(retain=0.3), file)
    made = grid(["none", "todre", "random", "vtw", "divprune+random-64", str(file)], [0.5, 74], draws=2, seed=4)
    assert [(row.label, len(row.conditions)) for row in made.rows] == [
        ("none", 1), ("todre@0.5", 1), ("todre@74", 1), ("random@0.5", 2), ("random@74", 2), ("vtw", 1),
        ("divprune+random-64", 2), ("mine", 1),
    ]  # fmt: skip
    assert len({condition.name for condition in made.conditions}) == 11
    assert made.rows[3].conditions[1].method == todre.RandomTokens(retain=0.5, seed=5)
    assert made.rows[-1].conditions[0].method == todre.ToDRE(retain=0.3)


def test_the_grid_refuses_what_makes_no_sense():
    with pytest.raises(todre.errors.InvalidValueError, match="draws must be"):
        grid(["todre"], [0.1], draws=0)
    with pytest.raises(todre.errors.InvalidValueError, match="named twice"):
        grid(["todre"], [0.1, 0.1])
    with pytest.raises(todre.errors.InvalidValueError, match="retain"):
        grid(["todre"], [2.0])
    assert list(grid(["todre"], [2.0], forgiving=True).left_out) == ["todre"]
