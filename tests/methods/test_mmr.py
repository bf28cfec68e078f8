"""MMR: where importance comes from, and the choice against all pairs in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods.examples import STILL, assert_exact, assert_same_in_any_scale, kept, together
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.mmr import MMR
from todre.tensors.token_facts import Signal

AUTO = Signal("auto", -1, even=True)


def brute_force(visual, k, importance, weight=0.5):
    x = visual.embeddings.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    known = [v for v in importance if v == v]
    scaled = [(v - min(known)) / (max(known) - min(known)) if v == v else 0.0 for v in importance]
    chosen = [int(np.argmax(scaled))]
    while len(chosen) < k:
        rest = [i for i in range(len(x)) if i not in chosen]
        value = [weight * scaled[i] - (1 - weight) * max(x[i] @ x[j] for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(value))])
    return sorted(chosen)


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("weight", [0.5, 0.9, 0.0])
@pytest.mark.parametrize("retain", [1, 0.2, 0.5])
def test_importance_is_attention(name, weight, retain):
    visual = STILL[name](seed=1, signals={AUTO: None})
    k = retain if isinstance(retain, int) else round(retain * len(visual))
    expected = brute_force(visual, k, visual.signals[AUTO].tolist(), weight)
    assert kept(MMR(retain=retain, weight=weight), visual) == expected


@pytest.mark.parametrize("importance", ["norm", "auto"])
def test_importance_is_the_norm_where_asked_or_where_no_attention_is_known(importance):
    visual = together(*(make(seed=i) for i, make in enumerate(STILL.values())))
    norms = np.linalg.norm(visual.embeddings.double().numpy(), axis=1)
    norms[visual.newline.numpy()] = np.nan
    assert kept(MMR(retain=30, importance=importance), visual) == brute_force(visual, 30, norms.tolist())


def test_importance_that_is_all_alike_leaves_diversity():
    visual = visual_tokens_of(10, signals={AUTO: torch.ones(10)})
    keep = kept(MMR(retain=4, weight=0.5), visual)
    assert keep == kept(MMR(retain=4, weight=0.0), visual.with_embeddings(visual.embeddings))


@pytest.mark.parametrize("importance", ["auto", "norm"])
@pytest.mark.parametrize("name", STILL)
def test_exactly_the_budget(name, importance):
    visual = STILL[name](signals={AUTO: None})
    assert_exact(lambda **fields: MMR(importance=importance, **fields), visual)
    assert_same_in_any_scale(MMR(retain=0.4, importance=importance), visual)


def test_attention_that_is_asked_for_by_name_must_be_known():
    with pytest.raises(UnsupportedInputError, match="No cls signal"):
        MMR(importance="cls").select(visual_tokens_of(4))
    assert MMR(importance="norm").signals() == ()
    assert MMR(importance="received", layer=-2).signals() == (Signal("received", -2, even=True),)


@pytest.mark.parametrize(("field", "value"), [("weight", 1.5), ("weight", None), ("importance", "trained")])
def test_bad_values_are_refused(field, value):
    with pytest.raises(InvalidValueError, match=f"not {value!r}"):
        MMR(**{field: value})
