"""MMTok against a loop over all rows in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, together
from methods.making import visual_tokens_of
from methods.test_scope import parts_of

from todre.errors import InvalidValueError
from todre.methods.mmtok import MMTok


def unit(x):
    rows = x.double().numpy()
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def brute_force(visual, k, alpha=0.5, text_at=0.02, visual_at=0.2):
    """The formula, row by row; ties within rounding go to the first."""
    x, text = unit(visual.embeddings), unit(visual.text)
    chosen, parts = parts_of(visual, k)
    for members, count in parts:
        own = x[members]
        rows = [softmax(own @ word / text_at) / len(text) for word in text]
        rows += [softmax(own @ token / visual_at) / len(own) * (alpha if len(text) else 1.0) for token in own]
        matrix = np.array(rows)
        cover, mine = np.zeros(len(matrix)), []
        for _ in range(count):
            gain = np.maximum(matrix - cover[:, None], 0).sum(axis=0)
            gain[mine] = -1
            mine.append(int((gain >= gain.max() * (1 - 1e-6)).argmax()))
            cover = np.maximum(cover, matrix[:, mine[-1]])
        chosen += [members[at] for at in mine]
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("text", [0, 1, 6])
@pytest.mark.parametrize("retain", [1, 0.2, 0.5])
def test_the_choice_is_that_of_the_slow_loop(name, text, retain):
    visual = STILL[name](seed=3, text=text, d=24)
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    assert kept(MMTok(retain=retain), visual) == brute_force(visual, k)


@pytest.mark.parametrize(("alpha", "text_at", "visual_at"), [(2.0, 0.01, 0.1), (0.0, 0.3, 0.2), (0.5, 1.0, 0.1)])
def test_the_settings_are_those_of_the_formula(alpha, text_at, visual_at):
    visual = STILL["pictures"](seed=5, text=4, d=24)
    method = MMTok(retain=0.3, alpha=alpha, text_temperature=text_at, visual_temperature=visual_at)
    assert kept(method, visual) == brute_force(visual, round(0.3 * len(visual)), alpha, text_at, visual_at)


def test_several_pictures_and_a_clip_together():
    visual = together(*(make(seed=i, text=3, d=24) for i, make in enumerate(STILL.values())))
    assert kept(MMTok(retain=0.2), visual) == brute_force(visual, round(0.2 * len(visual)))


@pytest.mark.parametrize("text", [0, 3])
@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name, text):
    visual = STILL[name](text=text)
    assert_exact(MMTok, visual)
    assert_same_in_any_scale(MMTok(retain=0.4), visual)


def test_the_question_moves_the_choice_towards_what_it_is_like():
    x = torch.eye(8).repeat_interleave(2, dim=0) + 0.1
    for word in (2, 6):
        assert kept(MMTok(retain=1), visual_tokens_of(16, embeddings=x, text=x[2 * word : 2 * word + 1])) == [2 * word]
    both = visual_tokens_of(16, embeddings=x, text=x[[4, 12]])
    assert kept(MMTok(retain=2), both) == [4, 12]


def test_identical_tokens_are_chosen_once_and_the_first_of_them():
    base = torch.randn(5, 12, generator=torch.Generator().manual_seed(4))
    for copies in (2, 7):
        visual = visual_tokens_of(5 * copies, embeddings=base.repeat(copies, 1), text=base[:2] + 0.3)
        assert kept(MMTok(retain=5), visual) == [0, 1, 2, 3, 4]
        assert kept(MMTok(retain=7), visual) == [0, 1, 2, 3, 4, 5, 6]


def test_without_visual_rows_text_alone_is_covered_and_without_text_the_picture():
    x = torch.eye(6)
    assert kept(MMTok(retain=1, alpha=0.0), visual_tokens_of(6, embeddings=x, text=x[3:4])) == [3]
    visual = visual_tokens_of(30, seed=2, text=0)
    assert kept(MMTok(retain=6, alpha=0.0), visual) == kept(MMTok(retain=6), visual) == brute_force(visual, 6)


def test_defaults_are_those_of_the_code():
    method = MMTok()
    assert (method.alpha, method.visual_temperature, method.text_temperature) == (0.5, 0.2, 0.02)


@pytest.mark.parametrize(("field", "value"), [("alpha", -1), ("text_temperature", 0), ("visual_temperature", "low")])
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        MMTok(**{field: value})
