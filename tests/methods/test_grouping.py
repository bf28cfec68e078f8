"""Tiles, sheets, newlines and even spacing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import anyres, clip, pictures, together
from methods.making import visual_tokens_of

from todre.methods.shared.grouping import best, newlines_first, newlines_last, sheets, spaced, tiles


def lists(groups):
    return [group.tolist() for group in groups]


def by_hand(keys):
    """Members of each key, in order of first occurrence; None belongs to no group."""
    found = {}
    for index, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, []).append(index)
    return list(found.values())


@pytest.mark.parametrize("visual", [anyres(), pictures(), clip(), together(anyres(), clip(), pictures())])
def test_tiles_and_sheets_by_hand(visual):
    facts = list(zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True))
    assert lists(tiles(visual)) == by_hand([None if fact[2] < 0 else fact for fact in facts])
    assert lists(sheets(visual)) == by_hand([None if tile < 0 else (p, f, tile > 0) for p, f, tile in facts])


def test_tiles_that_make_no_raster_together_are_sheets_of_their_own():
    visual = visual_tokens_of(8, row=[0, 0, 1, 1] * 2, column=[0, 1] * 4)
    assert lists(sheets(visual)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_tokens_without_a_place_stay_together():
    visual = visual_tokens_of(6, row=[-1, 0, 0, 1, 1, -1], column=[-1, 0, 1, 0, 1, -1])
    assert lists(sheets(visual)) == [[0, 5], [1, 2, 3, 4]]


def test_only_newlines_make_no_group():
    visual = visual_tokens_of(3, tile=[-1, -1, -1])
    assert tiles(visual) == sheets(visual) == []


@settings(max_examples=100, deadline=None)
@given(data=st.data(), tile=st.lists(st.sampled_from([-1, 0]), min_size=1, max_size=20))
def test_newlines_come_first_or_last_within_the_budget(data, tile):
    k = data.draw(st.integers(1, len(tile)))
    visual = visual_tokens_of(len(tile), tile=tile)
    newlines, others = tile.count(-1), tile.count(0)
    last = max(0, k - others)
    for rule, wanted in ((newlines_first, newlines if newlines < k else last), (newlines_last, last)):
        keep, room = rule(visual, k)
        assert int(keep.sum()) == wanted
        assert room == k - wanted
        assert room <= others
        assert keep.nonzero().flatten().tolist() == [i for i in range(len(tile)) if tile[i] < 0][:wanted]


def test_the_best_are_the_first_of_equals_and_unknown_scores_are_last():
    scores = torch.tensor([1.0, torch.nan, 3.0, 1.0, -torch.inf, 3.0])
    assert best(scores, 6).tolist() == [2, 5, 0, 3, 1, 4]
    assert best(scores, 2).tolist() == [2, 5]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(1, 400))
def test_places_are_evenly_spaced(data, n):
    k = data.draw(st.integers(0, n))
    got = spaced(n, k)
    assert len(set(got)) == k
    assert got == sorted(got)
    assert all(0 <= place < n for place in got)
    assert all(abs(place + 0.5 - (i + 0.5) * n / k) <= 0.5 for i, place in enumerate(got))
