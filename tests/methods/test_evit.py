"""EViT: each step equals loops in float64, and three steps meet the budget."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from towers import consistent, tower_context

from todre.errors import InvalidValueError
from todre.methods.evit import EViT


def brute(context, left, fused):
    """Kept tokens, targets of the others, and states of each tile, by loops."""
    results = []
    for tile in range(len(context.hidden)):
        query, key = (
            context.attention_inputs.query[tile].double().numpy(),
            context.attention_inputs.key[tile].double().numpy(),
        )
        rows = []
        for head in range(len(query)):
            logits = np.array([query[head, 0] @ key[head, token] for token in range(key.shape[1])]) * 0.5
            weights = np.exp(logits - logits.max())
            rows.append(weights / weights.sum())
        attention = np.mean(rows, axis=0)[1:]
        hidden = context.hidden[tile].double().numpy().copy()
        order = sorted(range(len(attention)), key=lambda token: (-round(attention[token], 7), token))
        stay = left if fused == "none" else left - 1
        gone = [token + 1 for token in order[stay:]]
        into = list(range(len(attention) + 1))
        for token in gone:
            into[token] = -1 if fused == "none" else gone[0]
        if fused != "none":
            total = sum(attention[token - 1] * hidden[token] for token in gone)
            hidden[gone[0]] = total / (sum(attention[token - 1] for token in gone) if fused == "mean" else 1.0)
        results.append((into, hidden))
    return results


@settings(max_examples=30, deadline=None)
@given(
    patches=st.integers(2, 20),
    fused=st.sampled_from(["mean", "sum", "none"]),
    seed=st.integers(0, 9999),
    data=st.data(),
)
def test_equals_the_brute_force(patches, fused, seed, data):
    left = data.draw(st.integers(1, patches - 1))
    context = tower_context(patches=patches, seed=seed)
    merging = EViT(retain=left, layers=(1,), fused=fused).merge(context)
    consistent(merging, context)
    assert int(merging.keep.sum(dim=1)[0]) == left + 1
    for tile, (into, hidden) in enumerate(brute(context, left, fused)):
        assert merging.into[tile].tolist() == into
        if fused != "none":
            kept = merging.keep[tile]
            torch.testing.assert_close(
                merging.hidden[tile][kept].double(), torch.from_numpy(hidden)[kept], atol=1e-5, rtol=1e-5
            )


def test_ties_go_to_the_first():
    context = tower_context(patches=6)
    seen = dataclasses.replace(context.attention_inputs, key=torch.zeros_like(context.attention_inputs.key))
    merging = EViT(retain=4, layers=(1,)).merge(dataclasses.replace(context, attention_inputs=seen))
    assert merging.keep[0].tolist() == [True] * 5 + [False] * 2
    assert merging.into[0].tolist() == [0, 1, 2, 3, 4, 4, 4]
    torch.testing.assert_close(merging.hidden[0, 4], context.hidden[0, 4:].mean(dim=0))


def test_the_fused_token_competes_again_and_the_budget_is_met():
    method = EViT(retain=7, layers=(1, 2, 3))
    gone, counts = 0, []
    for layer in (1, 2, 3):
        context = tower_context(patches=20, gone=gone, layer=layer, n_layers=3, seed=layer)
        merging = method.merge(context)
        consistent(merging, context)
        counts.append(int(merging.keep.sum(dim=1)[0]) - 1)
        gone = 20 - counts[-1]
    assert counts == [14, 10, 7]


def test_attention_that_vanishes_still_gives_a_mean():
    context = tower_context(patches=4)
    query = context.attention_inputs.query.clone()
    key = torch.zeros_like(context.attention_inputs.key)
    query[:, :, 0] = 100.0
    key[:, :, 1] = 100.0
    merging = EViT(retain=2, layers=(1,)).merge(
        dataclasses.replace(
            context, attention_inputs=dataclasses.replace(context.attention_inputs, query=query, key=key)
        )
    )
    assert bool(merging.hidden.isfinite().all())
    torch.testing.assert_close(merging.hidden[0, 2], context.hidden[0, 2:].mean(dim=0))


def test_nothing_leaves_when_all_are_retained():
    merging = EViT(retain=1.0, layers=(1,)).merge(tower_context())
    assert bool(merging.keep.all())
    assert merging.hidden is None


@pytest.mark.parametrize(("n_layers", "expected"), [(12, (4, 7, 10)), (23, (7, 13, 19)), (24, (8, 14, 20)), (2, (1,))])
def test_where_tokens_leave(n_layers, expected):
    assert EViT().tower_after(n_layers) == expected


def test_settings():
    assert EViT.from_dict(EViT(layers=(0.5,), fused="none").to_dict()) == EViT(layers=(0.5,), fused="none")
    for wrong in ({"fused": "max"}, {"layers": ()}, {"layers": (1.5,)}, {"retain": 0}):
        with pytest.raises(InvalidValueError):
            EViT(**wrong)
    with pytest.raises(InvalidValueError, match="layer 30"):
        EViT(layers=(30,)).tower_after(24)
