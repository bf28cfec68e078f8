"""HiPrune against loops in Python."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, order_of, placeless, together
from methods.making import visual_tokens_of
from methods.test_vispruner import shares

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.hiprune import HiPrune
from todre.tensors.token_facts import Signal

MIDDLE, DEEP = Signal("received", 9 / 24), Signal("received", -2)
BOTH = {MIDDLE: None, DEEP: None}


def brute_force(visual, k, alpha):
    newline = visual.newline.tolist()
    others = len(newline) - sum(newline)
    chosen = [i for i in range(len(newline)) if newline[i]][: max(0, k - others)]
    middle, deep = visual.signals[MIDDLE], visual.signals[DEEP]
    row, column = visual.row.tolist(), visual.column.tolist()
    found = {}
    for i, key in enumerate(zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)):
        if not newline[i]:
            found.setdefault(key, []).append(i)
    for members, share in zip(found.values(), shares(min(k, others), [len(m) for m in found.values()]), strict=True):
        ranked = order_of(middle, members)
        mine = ranked[: round(share * alpha / 5)]
        at = {(row[i], column[i]): i for i in members if row[i] >= 0}
        near = set()
        for i in mine:
            if row[i] >= 0:
                for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                    near.add(at.get((row[i] + down, column[i] + right)))
        mine = (mine + [i for i in ranked if i in near and i not in mine])[:share]
        for i in order_of(deep, members):
            if len(mine) < share and i not in mine:
                mine.append(i)
        chosen += mine
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("alpha", [0.1, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("retain", [1, 0.2, 0.5, 0.9])
def test_the_choice_is_that_of_the_slow_loop(name, alpha, retain):
    visual = STILL[name](seed=6, signals=BOTH)
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    assert kept(HiPrune(retain=retain, alpha=alpha), visual) == brute_force(visual, k, alpha)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_ties(data, rows, columns):
    n = rows * columns
    few = st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=n, max_size=n)
    visual = visual_tokens_of(n, column=columns, signals={MIDDLE: data.draw(few), DEEP: data.draw(few)})
    k, alpha = data.draw(st.integers(1, n)), data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    assert kept(HiPrune(retain=k, alpha=alpha), visual) == brute_force(visual, k, alpha)


def test_an_anchor_at_the_end_of_a_row_has_no_neighbour_in_the_next():
    middle = torch.zeros(16)
    middle[7] = 1.0  # the last token of the second row
    visual = visual_tokens_of(16, column=4, signals={MIDDLE: middle, DEEP: torch.zeros(16)})
    assert kept(HiPrune(retain=4, alpha=1.0), visual) == [3, 6, 7, 11]


def test_tokens_without_a_place_have_no_neighbours():
    visual = placeless(signals=BOTH)
    assert kept(HiPrune(retain=6, alpha=1.0), visual) == brute_force(visual, 6, 1.0)


@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name):
    visual = STILL[name](signals=BOTH)
    assert_exact(HiPrune, visual)
    assert_exact(lambda **fields: HiPrune(alpha=1.0, **fields), visual)
    assert_same_in_any_scale(HiPrune(retain=0.4), visual)


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, signals=BOTH) for i, make in enumerate(STILL.values())))
    assert kept(HiPrune(retain=0.5, alpha=0.5), visual) == brute_force(visual, round(0.5 * len(visual)), 0.5)


def test_unknown_attention_is_refused():
    with pytest.raises(UnsupportedInputError, match="No received signal"):
        HiPrune().select(visual_tokens_of(4))


@pytest.mark.parametrize(
    ("field", "value"), [("alpha", 2), ("object_layer", 1.0), ("object_layer", True), ("register_layer", "last")]
)
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"{field} must be .* not {value!r}"):
        HiPrune(**{field: value})
