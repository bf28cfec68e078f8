"""Nüwa's stage 1 against float64 loops: regions, anchors, pillars, gathering."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, check_merging, order_of, placeless, together
from methods.making import visual_tokens_of
from methods.test_visionzip import cosine, quotas

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.nuwa import Nuwa
from todre.tensors.token_facts import Signal

ATTENTION, KEYS = Signal("auto", -2), Signal("keys", -2)


def signals(n, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    return {ATTENTION: torch.rand(n, generator=generator), KEYS: torch.randn(n, 5, generator=generator)}


def sample(name, seed=0):
    return STILL[name](seed, signals=signals(len(STILL[name](seed)), seed))


def sheets_of(visual):
    found = {}
    for i in range(len(visual)):
        if not visual.newline[i]:
            key = (int(visual.picture[i]), int(visual.frame[i]), int(visual.tile[i]) > 0)
            found.setdefault(key, []).append(i)
    return sorted(found.values(), key=lambda sheet: sheet[0])


def anchors_of(sheet, share, salience, place, window):
    regions = {}
    for i in order_of(salience, sheet):
        regions.setdefault((place[i][0] // window, place[i][1] // window), []).append(i)
    most = 1
    while sum(min(most, len(region)) for region in regions.values()) < share:
        most += 1
    offered = sorted(i for region in regions.values() for i in region[:most])
    return order_of(salience, offered)[:share]


def brute(visual, k, method):
    x = visual.embeddings.double().numpy()
    norm = visual.signals[KEYS].norm(dim=-1)
    salience = visual.signals[ATTENTION] * norm
    place = list(zip(visual.row.tolist(), visual.column.tolist(), strict=True))
    sheets = sheets_of(visual)
    counts, newlines_stay = quotas(visual, k, sheets)
    result = {i: x[i] for i in range(len(visual)) if newlines_stay and visual.newline[i]}
    for sheet, share in zip(sheets, counts, strict=True):
        if share == len(sheet):
            result |= {i: x[i] for i in sheet}
            continue
        anchors = anchors_of(sheet, share, salience, place, method.window)
        pillars = order_of(norm, sorted(anchors))[: round(share * method.pillars)]
        rows, columns = zip(*(place[i] for i in sheet), strict=True)
        longest = (max(rows) - min(rows)) ** 2 + (max(columns) - min(columns)) ** 2
        reach = max(math.sqrt(method.reach * longest), 1e-6)
        for j in anchors:
            if j in pillars:
                result[j] = x[j]
                continue
            weight = {i: max(cosine(x[j], x[i]), 0) * max(1 - math.dist(place[i], place[j]) / reach, 0) for i in sheet}
            total = max(sum(weight.values()), 1e-8)
            result[j] = x[j] + sum(weight[i] / total * x[i] for i in sheet if i != j)
    return result


def check(visual, k, method):
    check_merging(method.select(visual), visual, brute(visual, k, method), k, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(STILL)),
    seed=st.integers(0, 999),
    window=st.integers(1, 3),
    pillars=st.sampled_from([0.0, 0.25, 1.0]),
    reach=st.sampled_from([0.0, 0.26, 1.0]),
    data=st.data(),
)
def test_equals_the_brute_force(name, seed, window, pillars, reach, data):
    visual = sample(name, seed)
    k = data.draw(st.integers(1, len(visual)))
    check(visual, k, Nuwa(retain=k, window=window, pillars=pillars, reach=reach))


def test_pictures_and_clips_in_one_sample():
    visual = together(sample("pictures", 1), sample("clip", 2), sample("anyres", 3))
    check(visual, 40, Nuwa(retain=40))


def test_every_region_has_its_anchor():
    visual = visual_tokens_of(64, column=8, signals={ATTENTION: torch.arange(64.0), KEYS: torch.ones(64, 3)})
    keep = Nuwa(retain=16).select(visual).keep.view(4, 2, 4, 2)
    assert bool((keep.sum(dim=(1, 3)) == 1).all())


def test_equal_tokens():
    visual = visual_tokens_of(
        16, column=4, signals={ATTENTION: torch.ones(16), KEYS: torch.ones(16, 3)}, embeddings=torch.ones(16, 4)
    )
    check(visual, 6, Nuwa(retain=6))


@pytest.mark.parametrize("name", sorted(STILL))
def test_keeping_all_changes_no_bit(name):
    visual = sample(name)
    selection = Nuwa(retain=1.0).select(visual)
    assert bool(selection.keep.all())
    assert torch.equal(selection.embeddings, visual.embeddings)


def test_tokens_without_a_place_are_refused():
    with pytest.raises(UnsupportedInputError, match="row and column"):
        Nuwa(retain=3).select(placeless(signals=signals(13, 0)))


def test_settings():
    assert Nuwa.from_dict(Nuwa(window=3, reach=0.5).to_dict()) == Nuwa(window=3, reach=0.5)
    for wrong in ({"retain": 0}, {"window": 0}, {"pillars": 2}, {"reach": -1}, {"attention": "keys"}):
        with pytest.raises(InvalidValueError):
            Nuwa(**wrong)
