"""History against loops in float64: repeats, quotas in their order, orders within a screen."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from methods.examples import anyres, assert_exact, assert_same_in_any_scale, clip, kept, pictures, placeless, together
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError
from todre.methods.history import History
from todre.methods.shared.seeds import draws_at_random
from todre.runtime.selection import choose
from todre.tensors.token_facts import Signal

RANKERS = ("random", "diversity", "uniform")
GAMMAS = (0.0, 0.3, 0.5, 1.0)


def screens_of(visual):
    """Members of each picture and frame; what belongs to no frame goes with the last frame of its clip."""
    facts = list(zip(visual.picture.tolist(), visual.frame.tolist(), strict=True))
    last = {p: max(f for q, f in facts if q == p) for p, _ in facts}
    found = {}
    for index, (p, f) in enumerate(facts):
        found.setdefault((p, max(last[p], 0) if f < 0 else f), []).append(index)
    return [found[key] for key in sorted(found)]


def repeats_of(visual, screens, change):
    x = visual.embeddings.double().numpy()
    places = list(zip(visual.tile.tolist(), visual.row.tolist(), visual.column.tolist(), strict=True))
    found = [set() for _ in screens]
    for at, (old, new) in enumerate(pairwise(screens)):
        if change is None or [places[i] for i in old] != [places[i] for i in new]:
            continue
        for i, j in zip(old, new, strict=True):
            cosine = x[i] @ x[j] / max(1e-30, np.linalg.norm(x[i]) * np.linalg.norm(x[j]))
            if cosine >= change or (x[i] == x[j]).all():
                found[at].add(i)
    return found


def between(total, weights, floors, caps):
    """One factor for all weights, within bounds: the bounds that the sum runs into are fixed in turn."""
    total = min(total, sum(caps))
    fixed = {i: Fraction(floor) for i, floor in enumerate(floors) if not weights[i]}
    ideal = dict(fixed)
    while len(fixed) < len(weights):
        free = [i for i in range(len(weights)) if i not in fixed]
        level = (total - sum(fixed.values())) / sum(Fraction(weights[i]) for i in free)
        ideal = dict(fixed) | {i: level * Fraction(weights[i]) for i in free}
        low = {i: Fraction(floors[i]) for i in free if ideal[i] < floors[i]}
        high = {i: Fraction(caps[i]) for i in free if ideal[i] > caps[i]}
        if not low and not high:
            break
        excess = sum(low[i] - ideal[i] for i in low) - sum(ideal[i] - high[i] for i in high)
        fixed |= low | high if excess == 0 else (low if excess > 0 else high)
        ideal |= fixed
    quotas = [math.floor(ideal[i]) for i in range(len(weights))]
    order = sorted(range(len(weights)), key=lambda i: (quotas[i] - ideal[i], i))
    for i in order[: int(sum(ideal.values())) - sum(quotas)]:
        quotas[i] += 1
    return quotas


def shared(total, weights, caps):
    """By weight up to caps; parts of weight 0 in proportion to their caps, when all others are full."""
    first = between(total, [w if c else 0.0 for w, c in zip(weights, caps, strict=True)], [0] * len(caps), caps)
    left = [cap - quota for cap, quota in zip(caps, first, strict=True)]
    more = between(total - sum(first), [float(each) for each in left], [0] * len(caps), left)
    return [a + b for a, b in zip(first, more, strict=True)]


def quotas_of(method, total, sizes, fresh):
    """The order of spending, one line for each step; all lists newest first."""
    low = [method.floor if isinstance(method.floor, int) else round(method.floor * size) for size in sizes]
    low = [min(a, b) for a, b in zip(low, fresh, strict=True)]
    got, left = [], total
    for floor in low:
        got.append(min(floor, left))
        left -= got[-1]
    top = min(left, max(0, max(1, round(method.newest * sizes[0])) - got[0]))
    got[0] += top
    left -= top
    if left:
        older = [f * method.gamma**age for age, f in enumerate(fresh)][1:]
        spent = sum(got[1:])
        got[1:] = between(left + spent, older, got[1:], fresh[1:])
        lacks = [f - g for f, g in zip(fresh[1:], got[1:], strict=True)]
        more = shared(left + spent - sum(got[1:]), [float(each) for each in lacks], lacks)
        got[1:] = [a + b for a, b in zip(got[1:], more, strict=True)]
    got[0] = min(sizes[0], total - sum(got[1:]))
    again = [size - own for size, own in zip(sizes, fresh, strict=True)]
    more = shared(total - sum(got), [size * method.gamma**age for age, size in enumerate(again)], again)
    return [a + b for a, b in zip(got, more, strict=True)]


def halved(n):
    """Numbers below n by the fraction that their mirrored bits make, the next always in the middle of a gap."""
    size = 1
    order = [0]
    while size < n:
        order = [2 * i for i in order] + [2 * i + 1 for i in order]
        size *= 2
    return [i for i in order if i < n]


def clear(scores):
    """Index of the lowest score; equal scores, which rounding may order either way, are no example."""
    order = np.argsort(scores, kind="stable")
    assume(len(order) < 2 or scores[order[1]] - scores[order[0]] > 1e-5)
    return int(order[0])


def k_center(x, count):
    """Greedy k-center; the two tokens of a pair are equally near to their centre."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    chosen = [clear(-(unit @ unit.mean(axis=0)))]
    while len(chosen) < count:
        nearest = (unit @ unit[chosen].T).max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(clear(nearest))
    return chosen


def brute_force(method, visual, k):
    screens = screens_of(visual)
    repeats = repeats_of(visual, screens, method.change)
    sizes = [len(screen) for screen in screens]
    fresh = [size - len(again) for size, again in zip(sizes, repeats, strict=True)]
    quotas = quotas_of(method, k, sizes[::-1], fresh[::-1])[::-1]
    generator = torch.Generator().manual_seed(method.seed)
    chosen = []
    for screen, again, quota in zip(screens, repeats, quotas, strict=True):
        drawn = [screen[i] for i in torch.randperm(len(screen), generator=generator).tolist()]
        newline = {i for i in screen if visual.newline[i]}
        order = []
        for part in (set(screen) - again - newline, newline - again, again):
            members, count = sorted(part), min(len(part), quota - len(order))
            if count in (0, len(members)):
                order += members[:count]
            elif method.ranker == "random":
                order += [i for i in drawn if i in part][:count]
            elif method.ranker == "uniform":
                order += [members[i] for i in halved(len(members))[:count]]
            else:
                order += [members[i] for i in k_center(visual.embeddings[members].double().numpy(), count)]
        chosen += order
    return sorted(chosen)


def history(screens=5, seed=0, rows=3, columns=4, d=8, changed=0.4, make=pictures):
    """Screens of one layout; each token is that of the screen before, but for a share that is new."""
    generator = torch.Generator().manual_seed(seed)
    one = make(sizes=((rows, columns),), d=d) if make is pictures else make(rows=rows, columns=columns, d=d)
    x = [torch.randn(len(one), d, generator=generator)]
    for _ in range(screens - 1):
        new = torch.rand(len(one), generator=generator) < changed
        fresh = torch.randn(len(one), d, generator=generator)
        nearly = x[-1] + 0.05 * torch.randn(len(one), d, generator=generator)
        x.append(torch.where(new[:, None], fresh, nearly))
    return together(*(one.with_embeddings(each) for each in x))


SAMPLES = {
    "history": lambda seed: history(seed=seed),
    "crops": lambda seed: history(3, seed, rows=4, columns=8, make=anyres),
    "unequal": lambda seed: pictures(seed, sizes=((3, 4), (5, 2), (5, 2), (1, 1), (2, 2))),
    "mixed": lambda seed: together(pictures(seed), clip(seed + 1), anyres(seed + 2), history(3, seed)),
    "one": lambda seed: anyres(seed),
    "placeless": lambda seed: together(placeless(seed), placeless(seed + 1)),
}


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    seed=st.integers(0, 99),
    gamma=st.sampled_from(GAMMAS),
    floor=st.sampled_from([0, 1, 3, 0.0, 0.02, 0.2, 1.0]),
    newest=st.sampled_from([0.1, 0.5, 1.0]),
    change=st.sampled_from([None, -1.0, 0.2, 0.95, 1.0]),
    ranker=st.sampled_from(RANKERS),
    data=st.data(),
)
def test_equals_the_brute_force(name, seed, gamma, floor, newest, change, ranker, data):
    visual = SAMPLES[name](seed)
    k = data.draw(st.integers(1, len(visual)))
    method = History(retain=k, gamma=gamma, floor=floor, newest=newest, change=change, ranker=ranker, seed=seed)
    got = kept(method, visual)
    assert len(got) == k
    assert got == brute_force(method, visual, k)


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_exactly_the_budget(name, ranker):
    visual = SAMPLES[name](3)
    assert_exact(lambda retain: History(retain=retain, ranker=ranker), visual)
    assert_same_in_any_scale(History(retain=0.4, ranker=ranker), visual)


def test_ten_screens_at_a_quarter():
    visual = history(10, rows=10, columns=30, changed=1.0)
    counts = visual.picture[History(change=None).select(visual)].bincount().tolist()
    assert counts == [6, 6, 6, 7, 14, 27, 55, 110, 219, 300]
    equal = visual.picture[History(change=None, gamma=1.0).select(visual)].bincount().tolist()
    assert equal == [50] * 9 + [300]


def test_what_is_scarce_goes_first_to_floors_and_to_the_newest():
    visual = history(4, rows=2, columns=5, changed=1.0)

    def counts(retain):
        method = History(retain=retain, floor=2, change=None)
        return visual.picture[method.select(visual)].bincount(minlength=4).tolist()

    assert [counts(k) for k in (1, 2, 3, 7, 8)] == [
        [0, 0, 0, 1],
        [0, 0, 0, 2],
        [0, 0, 1, 2],
        [1, 2, 2, 2],
        [2, 2, 2, 2],
    ]
    assert [counts(k) for k in (15, 16, 17, 19)] == [[2, 2, 2, 9], [2, 2, 2, 10], [2, 2, 3, 10], [2, 2, 5, 10]]


def test_unchanged_regions_are_kept_once():
    """A still background, one place that changes at each screen."""
    screens, n = 6, 12
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(1)).repeat(screens, 1)
    for at in range(screens):
        x[at * n + at] = 10 * torch.eye(8)[at]
    visual = pictures(sizes=((3, 4),) * screens).with_embeddings(x)
    # older screens lack what the next repeats: of screen g the places g and g + 1 differ from the next screen
    distinct = n + 2 * (screens - 1)
    got = kept(History(retain=distinct), visual)
    assert got == sorted({at * n + at + step for at in range(screens - 1) for step in (0, 1)} | set(range(60, 72)))
    more = set(kept(History(retain=distinct + 1), visual))
    assert set(got) < more


def test_a_screen_that_is_shown_again_unchanged_costs_nothing():
    once = pictures(seed=3, sizes=((3, 4),))
    twice = together(once, once)
    assert kept(History(retain=12, floor=5), twice) == list(range(12, 24))
    assert len(kept(History(retain=12, floor=5, change=None), twice)) == 12
    assert kept(History(retain=12, floor=5, change=None), twice) != list(range(12, 24))


def test_screens_of_other_sizes_are_not_compared():
    x = torch.ones(24, 4)
    for sizes, repeated in ((((3, 4), (3, 4)), True), (((3, 4), (4, 3)), False), (((3, 4), (2, 6)), False)):
        visual = pictures(sizes=sizes, d=4).with_embeddings(x)
        got = kept(History(retain=14, floor=2), visual)
        assert (sum(i < 12 for i in kept(History(retain=12, floor=2), visual)) == 0) is repeated
        assert sum(i >= 12 for i in got) == 12


def first(visual, count):
    """The sample as it was when it had `count` pictures."""
    return visual.take((visual.picture < count).nonzero().flatten())


def growing(visual, screens, method):
    """For each screen, what it keeps each time that the history has grown."""
    found = {screen: [] for screen in range(screens)}
    for count in range(1, screens + 1):
        shown = first(visual, count)
        keep = method.select(shown)
        for screen in range(count):
            found[screen].append(set((keep & (shown.picture == screen)).nonzero().flatten().tolist()))
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    retain=st.one_of(st.integers(5, 80), st.floats(0.05, 0.9)),
    gamma=st.sampled_from(GAMMAS),
    newest=st.sampled_from([0.3, 1.0]),
    change=st.sampled_from([None, 0.9]),
    ranker=st.sampled_from(["random", "diversity", "uniform"]),
)
def test_growing_histories_nest(seed, retain, gamma, newest, change, ranker):
    """However the history grows, what a screen keeps at two times is one inside the other."""
    visual = history(6, seed)
    method = History(retain=retain, gamma=gamma, newest=newest, change=change, ranker=ranker, seed=seed)
    for times in growing(visual, 6, method).values():
        # while a screen is the newest, nobody knows yet what the next one will repeat
        after = times if change is None else times[1:]
        ordered = sorted(after, key=len)
        assert all(a <= b for a, b in pairwise(ordered))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), retain=st.integers(12, 60), gamma=st.sampled_from([0.3, 0.5, 1.0]))
def test_under_a_fixed_count_an_older_screen_is_a_part_of_what_it_was(seed, retain, gamma):
    """But for one token, by which rounding may go up."""
    visual = history(7, seed)
    for times in growing(visual, 7, History(retain=retain, gamma=gamma, floor=0, seed=seed)).values():
        assert all(len(after - before) <= 1 for before, after in pairwise(times))


def test_a_single_picture_keeps_its_budget_by_the_ranker():
    visual = visual_tokens_of(20, seed=5)
    drawn = torch.randperm(20, generator=torch.Generator().manual_seed(7))[:6]
    assert kept(History(retain=6, seed=7), visual) == sorted(drawn.tolist())
    assert kept(History(retain=6, ranker="diversity"), visual) == sorted(k_center(visual.embeddings.numpy(), 6))
    assert kept(History(retain=4, ranker="uniform"), visual) == [0, 4, 8, 16]


def test_per_clip_every_clip_is_a_history():
    clips = [clip(seed=i, frames=4, rows=3, columns=3) for i in (1, 2)]
    method = History(retain=0.5, per="clip", change=None)
    n = len(clips[0])
    alone = [choose(method, each).keep.tolist() for each in clips]
    assert choose(method, together(*clips)).keep.tolist() == alone[0] + [n + i for i in alone[1]]
    assert set(range(27, 36)) <= set(alone[0])


def test_identical_tokens_repeat_whatever_the_threshold():
    zeros = pictures(sizes=((2, 3), (2, 3)), d=4).with_embeddings(torch.zeros(12, 4))
    for change in (-1.0, 0.5, 1.0):
        assert kept(History(retain=6, floor=2, change=change), zeros) == list(range(6, 12))


def test_draws_and_signals():
    assert History().signals() == (Signal("grid"),)
    assert History(change=None).signals() == ()
    assert draws_at_random(History())
    assert not draws_at_random(History(ranker="diversity"))
    visual = history()
    assert kept(History(seed=1), visual) != kept(History(seed=2), visual)
    state = torch.get_rng_state()
    History().select(visual)
    assert torch.equal(state, torch.get_rng_state())


def test_bad_values_are_refused():
    with pytest.raises(InvalidValueError, match="history divides a budget over screens, so per='frame' leaves"):
        History(per="frame")
    for wrong in ({"retain": 0}, {"gamma": 1.5}, {"floor": -1}, {"floor": 1.5}, {"newest": 0}, {"change": 2}):
        with pytest.raises(InvalidValueError, match=rf"History\.{next(iter(wrong))} must be"):
            History(**wrong)
    with pytest.raises(InvalidValueError, match=r"History\.ranker must be"):
        History(ranker="cls")
    assert History.from_dict(History(floor=3, change=None).to_dict()) == History(floor=3, change=None)
