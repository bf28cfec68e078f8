"""VisPruner against a loop over tiles in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, order_of, together
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.vispruner import VisPruner
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -2)


def shares(total, sizes):
    """Largest remainder in floating point, which is enough for small sizes."""
    ideal = [total * size / sum(sizes) for size in sizes]
    counts = [int(share + 1e-9) for share in ideal]
    order = sorted(range(len(sizes)), key=lambda i: (round(counts[i] - ideal[i], 9), i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def brute_force(visual, k, important, attention):
    x = visual.embeddings.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    newlines = visual.newline.nonzero().flatten().tolist()
    if len(newlines) >= k:
        newlines = newlines[: max(0, k - (len(visual) - len(newlines)))]
    tiles = {}
    for i, key in enumerate(zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)):
        if key[2] >= 0:
            tiles.setdefault(key, []).append(i)
    chosen = list(newlines)
    counts = shares(k - len(newlines), [len(members) for members in tiles.values()])
    for members, count in zip(tiles.values(), counts, strict=True):
        ranked = order_of(attention, members)
        first = int(count * important)
        chosen += ranked[:first]
        left = ranked[first:]
        while len(left) > count - first:
            halves, between = left[0::2], left[1::2]
            halves.sort(key=lambda i: -max((x[i] @ x[j] for j in between), default=-9))
            left = halves[min(8, len(left) - (count - first)) :] + between
        chosen += left
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("important", [0.5, 0.0, 1.0, 0.3])
@pytest.mark.parametrize("retain", [1, 0.2, 0.5])
def test_the_choice_is_that_of_the_slow_loop(name, important, retain):
    visual = STILL[name](seed=3, signals={AUTO: None})
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    expected = brute_force(visual, k, important, visual.signals[AUTO])
    assert kept(VisPruner(retain=retain, important=important), visual) == expected


def test_more_than_one_round_is_needed():
    visual = visual_tokens_of(120, signals={AUTO: None}, seed=9)
    expected = brute_force(visual, 12, 0.5, visual.signals[AUTO])
    assert kept(VisPruner(retain=12), visual) == expected


def test_equal_attention_goes_to_the_first_and_unknown_comes_last():
    values = torch.ones(20)
    values[0] = torch.nan
    visual = visual_tokens_of(20, signals={AUTO: values})
    assert kept(VisPruner(retain=4, important=1.0), visual) == [1, 2, 3, 4]


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, signals={AUTO: None}) for i, make in enumerate(STILL.values())))
    k = round(0.3 * len(visual))
    assert kept(VisPruner(retain=0.3), visual) == brute_force(visual, k, 0.5, visual.signals[AUTO])


@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name):
    visual = STILL[name](signals={AUTO: None})
    assert_exact(VisPruner, visual)
    assert_same_in_any_scale(VisPruner(retain=0.4), visual)


def test_newlines_are_kept():
    visual = STILL["anyres"](signals={AUTO: None})
    assert bool(VisPruner(retain=12).select(visual)[visual.newline].all())


def test_the_signal_asked_for_is_the_one_that_is_read():
    assert VisPruner().signals() == (AUTO,)
    assert VisPruner(attention="cls", layer=-1).signals() == (Signal("cls", -1),)
    with pytest.raises(UnsupportedInputError, match="No cls signal"):
        VisPruner(attention="cls").select(visual_tokens_of(5))


@pytest.mark.parametrize(("field", "value"), [("important", 1.1), ("important", "half"), ("attention", "max")])
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        VisPruner(**{field: value})
