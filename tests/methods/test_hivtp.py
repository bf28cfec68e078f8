"""HIVTP against loops over regions and windows in Python."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, anyres, assert_exact, assert_same_in_any_scale, kept, placeless, together
from methods.making import visual_tokens_of
from methods.test_vispruner import shares

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.hivtp import HIVTP
from todre.tensors.token_facts import Signal

LAYERS = [Signal("received", layer) for layer in (6 / 24, 7 / 24, 8 / 24)]
THREE = dict.fromkeys(LAYERS)


def brute_force(visual, k, share=0.5):
    value = [sum(float(visual.signals[s][i]) for s in LAYERS) / 3 for i in range(len(visual))]
    row, column = visual.row.tolist(), visual.column.tolist()
    sheets = {}
    for i, (p, f, t) in enumerate(
        zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)
    ):
        if row[i] >= 0:
            sheets.setdefault((p, f, t > 0), []).append(i)
    total = sum(len(sheet) for sheet in sheets.values())
    chosen = [i for i in range(len(visual)) if row[i] < 0][: max(0, k - total)]
    for sheet, count in zip(sheets.values(), shares(min(k, total), [len(s) for s in sheets.values()]), strict=True):
        high, wide = 1 + max(row[i] for i in sheet), 1 + max(column[i] for i in sheet)
        regions, windows = {}, {}
        for i in sheet:
            regions.setdefault((row[i] * 2 // high, column[i] * 2 // wide), []).append(i)
            windows.setdefault((row[i] // 2, column[i] // 2), []).append(i)
        parts = [regions[key] for key in sorted(regions)]
        mine = []
        for part, quota in zip(parts, shares(round(count * share), [len(part) for part in parts]), strict=True):
            mine += sorted(part, key=lambda i: (-value[i], i))[:quota]
        while len(mine) < count:
            offers = []
            for window in windows.values():
                left = [i for i in window if i not in mine]
                offers += sorted(left, key=lambda i: (-value[i], i))[:1]
            mine += sorted(offers, key=lambda i: (-value[i], i))[: count - len(mine)]
        chosen += mine
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("share", [0.5, 0.0, 1.0, 0.3])
@pytest.mark.parametrize("retain", [1, 0.2, 0.5, 0.9])
def test_the_choice_is_that_of_the_slow_loop(name, share, retain):
    visual = STILL[name](seed=8, signals=THREE)
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    assert kept(HIVTP(retain=retain, share=share), visual) == brute_force(visual, k, share)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 7), columns=st.integers(1, 7))
def test_ties(data, rows, columns):
    n = rows * columns
    few = st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=n, max_size=n)
    visual = visual_tokens_of(n, column=columns, signals=dict.fromkeys(LAYERS, data.draw(few)))
    k = data.draw(st.integers(1, n))
    assert kept(HIVTP(retain=k), visual) == brute_force(visual, k)


def test_the_papers_halves():
    """Half of an 8 × 8 picture: 4 tokens of each quarter, and one more of each window.

    Windows without a token left offer none.
    """
    visual = visual_tokens_of(64, column=8, signals=THREE, seed=3)
    keep = HIVTP(retain=32).select(visual).view(2, 4, 2, 4)
    assert keep.sum(dim=(1, 3)).min() >= 4
    windows = keep.reshape(4, 2, 4, 2).sum(dim=(1, 3))
    assert windows.min() >= 1


@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name):
    visual = STILL[name](signals=THREE)
    assert_exact(HIVTP, visual)
    assert_same_in_any_scale(HIVTP(retain=0.4), visual)


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, signals=THREE) for i, make in enumerate(STILL.values())))
    assert kept(HIVTP(retain=0.4), visual) == brute_force(visual, round(0.4 * len(visual)))


def test_a_raster_with_holes():
    visual = anyres(signals=THREE).take(torch.arange(0, 70, 3))
    assert kept(HIVTP(retain=9), visual) == brute_force(visual, 9)


def test_unknown_places_are_refused():
    with pytest.raises(UnsupportedInputError, match="needs the rows and columns"):
        HIVTP().select(placeless(signals=THREE))


@pytest.mark.parametrize(("field", "value"), [("share", -1), ("layers", ()), ("layers", (1.5,))])
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=rf"{field}(\[0\])? must "):
        HIVTP(**{field: value})


def test_layers_come_back_from_json():
    method = HIVTP(layers=(1, 0.5))
    assert HIVTP.from_dict(method.to_dict()) == method
    assert [signal.layer for signal in method.signals()] == [1, 0.5]
