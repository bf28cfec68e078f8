"""CDPruner against determinants of the conditional kernel in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, together
from methods.making import visual_tokens_of
from methods.test_vispruner import shares

from todre.errors import InvalidValueError
from todre.methods.cdpruner import CDPruner


def unit(x):
    rows = x.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def relevance(visual, sign=1.0, theta=None):
    x, text = unit(visual.embeddings), unit(visual.text)
    value = [sign * float(np.mean([x[i] @ word for word in text])) for i in range(len(x))]
    known = [v for v, newline in zip(value, visual.newline.tolist(), strict=True) if not newline]
    scaled = [(v - min(known) + 1e-6) / (max(known) - min(known)) for v in value]
    return scaled if theta is None else [math.exp(r * theta / (2 * (1 - theta))) for r in scaled]


def brute_force(visual, k, r):
    """Greedily the largest determinant of diag(r) K diag(r), tile by tile."""
    x = unit(visual.embeddings)
    newlines = visual.newline.nonzero().flatten().tolist()
    newlines = newlines if len(newlines) < k else newlines[: max(0, k - (len(visual) - len(newlines)))]
    found = {}
    for i, key in enumerate(zip(visual.picture.tolist(), visual.frame.tolist(), visual.tile.tolist(), strict=True)):
        if key[2] >= 0:
            found.setdefault(key, []).append(i)
    chosen = list(newlines)
    for members, share in zip(
        found.values(), shares(k - len(newlines), [len(part) for part in found.values()]), strict=True
    ):
        mine = []
        kernel = {(i, j): r[i] * r[j] * (1.0 if i == j else x[i] @ x[j]) for i in members for j in members}
        while len(mine) < share:
            rest = [i for i in members if i not in mine]
            sets = [[*mine, i] for i in rest]
            value = [np.linalg.slogdet(np.array([[kernel[i, j] for j in s] for i in s]))[1] for s in sets]
            mine.append(rest[int(np.argmax(value))])
        chosen += mine
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("retain", [1, 0.2, 0.4])
@pytest.mark.parametrize(("which", "sign", "theta"), [("text", 1, None), ("text-inverted", -1, None), ("text", 1, 0.8)])
def test_the_choice_is_that_of_the_determinants(name, retain, which, sign, theta):
    visual = STILL[name](seed=3, text=5, d=24)
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    method = CDPruner(retain=retain, relevance=which, theta=theta)
    assert kept(method, visual) == brute_force(visual, k, relevance(visual, sign, theta))


@pytest.mark.parametrize("which", ["text", "uniform"])
def test_without_text_all_tokens_are_equally_relevant(which):
    visual = STILL["anyres"](seed=3, text=0 if which == "text" else 4, d=24)
    expected = brute_force(visual, 20, [1.0] * len(visual))
    assert kept(CDPruner(retain=20, relevance=which), visual) == expected


def test_the_question_moves_the_choice_towards_what_it_is_like():
    x = torch.eye(8).repeat_interleave(2, dim=0) + 0.1
    visual = visual_tokens_of(16, embeddings=x, text=x[6:7])
    assert kept(CDPruner(retain=1), visual) == [6]
    assert kept(CDPruner(retain=1, relevance="text-inverted"), visual) == [0]


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, text=3, d=24) for i, make in enumerate(STILL.values())))
    k = round(0.2 * len(visual))
    assert kept(CDPruner(retain=0.2), visual) == brute_force(visual, k, relevance(visual))


@pytest.mark.parametrize("text", [0, 3])
@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget_also_past_the_rank(name, text):
    visual = STILL[name](text=text, d=5)
    assert_exact(CDPruner, visual)
    assert_same_in_any_scale(CDPruner(retain=0.4), visual)


def test_tokens_that_are_all_alike():
    visual = visual_tokens_of(6, embeddings=torch.ones(6, 4), text=2)
    assert kept(CDPruner(retain=3), visual) == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value"), [("relevance", "clip"), ("theta", 1.0), ("theta", "half"), ("theta", True)]
)
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        CDPruner(**{field: value})
