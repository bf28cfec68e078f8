"""SCOPE against a loop over all gains in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, order_of, together
from methods.making import visual_tokens_of
from methods.test_vispruner import shares

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.scope import SCOPE
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -2)


def parts_of(visual, k):
    """Kept newline tokens, and (members, count) of each tile, for tests of all methods that count by tiles."""
    newlines = visual.newline.nonzero().flatten().tolist()
    if len(newlines) >= k:
        newlines = newlines[: max(0, k - (len(visual) - len(newlines)))]
    found = {}
    for i, key in enumerate(zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)):
        if key[2] >= 0:
            found.setdefault(key, []).append(i)
    counts = shares(k - len(newlines), [len(members) for members in found.values()])
    return newlines, list(zip(found.values(), counts, strict=True))


def brute_force(visual, k, attention, alpha=1.0):
    """The formula, one gain after the other; ties and what is covered go by attention."""
    x = visual.embeddings.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    chosen, parts = parts_of(visual, k)
    for members, count in parts:
        covered, mine = dict.fromkeys(members, 0.0), []
        while len(mine) < count:
            best, at = 1e-4, None
            for j in members:
                gain = sum(max(0.0, x[i] @ x[j] - covered[i]) for i in members)
                if j not in mine and gain > 1e-5 and gain * attention[j] ** alpha > best * (1 + 1e-9):
                    best, at = gain * float(attention[j]) ** alpha, j
            if at is None:
                rest = [i for i in order_of(attention, members) if i not in mine]
                mine += rest[: count - len(mine)]
                break
            mine.append(at)
            covered = {i: max(c, float(x[i] @ x[at])) for i, c in covered.items()}
        chosen += mine
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("alpha", [1.0, 0.0, 2.5])
@pytest.mark.parametrize("retain", [1, 0.2, 0.5])
def test_the_choice_is_that_of_the_slow_loop(name, alpha, retain):
    visual = STILL[name](seed=3, signals={AUTO: None})
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    expected = brute_force(visual, k, visual.signals[AUTO], alpha)
    assert kept(SCOPE(retain=retain, alpha=alpha), visual) == expected


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, signals={AUTO: None}) for i, make in enumerate(STILL.values())))
    k = round(0.3 * len(visual))
    assert kept(SCOPE(retain=0.3), visual) == brute_force(visual, k, visual.signals[AUTO])


@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name):
    visual = STILL[name](signals={AUTO: None})
    assert_exact(SCOPE, visual)
    assert_same_in_any_scale(SCOPE(retain=0.4), visual)


def test_once_all_is_covered_attention_decides():
    """20 tokens three times each, all parallel: after three picks only rounding is left to gain."""
    base = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    x = base.repeat(20, 1) * torch.linspace(0.7, 1.9, 60)[:, None]
    attention = torch.linspace(0.1, 1.0, 60)
    visual = visual_tokens_of(60, embeddings=x, signals={AUTO: attention})
    first = kept(SCOPE(retain=3), visual)
    assert sorted(pick % 3 for pick in first) == [0, 1, 2]
    expected = sorted(first + [i for i in range(59, -1, -1) if i not in first][:5])
    assert kept(SCOPE(retain=8), visual) == expected == brute_force(visual, 8, attention)


def test_the_first_pick_ignores_negative_cosines():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.05], [-1.0, -0.3], [0.9, 0.2]])
    visual = visual_tokens_of(5, embeddings=x, signals={AUTO: torch.ones(5)})
    unit = (x / x.norm(dim=1, keepdim=True)).double()
    assert kept(SCOPE(retain=1), visual) == [int((unit @ unit.T).clamp(min=0).sum(dim=0).argmax())]


def test_equal_tokens_go_to_the_most_attended_and_then_to_the_first():
    visual = visual_tokens_of(6, embeddings=torch.ones(6, 4), signals={AUTO: torch.tensor([1.0, 2, 3, 3, 1, 2])})
    assert [kept(SCOPE(retain=k), visual) for k in (1, 2, 3, 4)] == [[2], [2, 3], [1, 2, 3], [1, 2, 3, 5]]


def test_the_scale_of_attention_does_not_matter():
    visual = visual_tokens_of(40, signals={AUTO: None})
    tiny = visual_tokens_of(40, signals={AUTO: visual.signals[AUTO] * 2.0**-100})
    assert kept(SCOPE(retain=9, alpha=3.0), visual) == kept(SCOPE(retain=9, alpha=3.0), tiny)


def test_unknown_attention_comes_last_and_a_tile_without_any_is_covered():
    values = torch.rand(20, generator=torch.Generator().manual_seed(3))
    values[0] = torch.nan
    visual = visual_tokens_of(20, signals={AUTO: values})
    assert 0 not in kept(SCOPE(retain=19), visual)
    values[10:] = torch.nan
    visual = visual_tokens_of(20, picture=[0] * 10 + [1] * 10, signals={AUTO: values})
    covered = visual_tokens_of(10, embeddings=visual.embeddings[10:], signals={AUTO: torch.ones(10)})
    assert [i - 10 for i in kept(SCOPE(retain=8), visual) if i >= 10] == kept(SCOPE(retain=4, alpha=0.0), covered)


def test_the_signal_asked_for_is_the_one_that_is_read():
    assert SCOPE().signals() == (AUTO,)
    assert SCOPE(attention="cls", layer=-1).signals() == (Signal("cls", -1),)
    with pytest.raises(UnsupportedInputError, match="No cls signal"):
        SCOPE(attention="cls").select(visual_tokens_of(5))


@pytest.mark.parametrize(("field", "value"), [("alpha", -0.1), ("alpha", "half"), ("attention", "max")])
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        SCOPE(**{field: value})
