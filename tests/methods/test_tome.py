"""ToMe: each step equals float64 loops; every layer removes the same number."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from towers import consistent, tower_context

from todre.errors import InvalidValueError
from todre.methods.shared.rates import constant, geometric
from todre.methods.tome import ToMe, match_tokens


def brute(context, r):
    """Kept tokens, targets and states of each tile, by loops."""
    results = []
    for tile in range(len(context.hidden)):
        keys = context.attention_inputs.key[tile].double().mean(dim=0).numpy()
        hidden, size = context.hidden[tile].double().numpy(), context.size[tile].double().numpy()
        a = [token for token in range(0, len(keys), 2) if token >= context.first]
        b = [token for token in range(1, len(keys), 2) if token >= context.first]
        edges = []
        for one in a:
            best, closest = None, -math.inf
            for other in b:
                length = np.linalg.norm(keys[one]) * np.linalg.norm(keys[other])
                cosine = float(keys[one] @ keys[other] / length) if length else 0.0
                if cosine > closest + 1e-9:
                    best, closest = other, cosine
            edges.append((-closest, one, best))
        into = list(range(len(keys)))
        for _, one, best in sorted(edges, key=lambda edge: (round(edge[0], 6), edge[1]))[:r]:
            into[one] = best
        merged = hidden.copy()
        for token in range(len(keys)):
            members = [one for one in range(len(keys)) if into[one] == token]
            if members and into[token] == token:
                merged[token] = sum(size[one] * hidden[one] for one in members) / sum(size[one] for one in members)
        results.append(([into[token] == token for token in range(len(keys))], into, merged))
    return results


def check(context, retain):
    merging = ToMe(retain=retain).merge(context)
    consistent(merging, context)
    r = context.count - int(merging.keep.sum(dim=1)[0] - context.first)
    for tile, (keep, into, hidden) in enumerate(brute(context, r)):
        assert merging.keep[tile].tolist() == keep
        assert merging.into[tile].tolist() == into
        if merging.hidden is not None:
            kept = torch.tensor(keep)
            torch.testing.assert_close(
                merging.hidden[tile][kept].double(), torch.from_numpy(hidden)[kept], atol=1e-5, rtol=1e-5
            )
    return merging


@settings(max_examples=30, deadline=None)
@given(patches=st.integers(2, 20), first=st.integers(0, 5), seed=st.integers(0, 10_000), data=st.data())
def test_equals_the_brute_force(patches, first, seed, data):
    gone = data.draw(st.integers(0, patches // 2))
    context = tower_context(patches=patches, first=first, gone=gone, seed=seed)
    left = patches - gone
    retain = data.draw(st.integers((left + 1) // 2, left))
    context = dataclasses.replace(context, patches=max(left, 1))
    merging = check(context, retain)
    assert int(merging.keep.sum(dim=1)[0]) == retain + first


@pytest.mark.parametrize("case", ["equal", "zero", "pairs"])
def test_ties_go_to_the_lowest(case):
    context = tower_context(patches=8)
    key = context.attention_inputs.key.clone()
    if case == "equal":
        key[:] = key[:, :, :1]
    elif case == "zero":
        key[:] = 0
    else:
        key[:, :, 5:] = key[:, :, 1:5]
    check(dataclasses.replace(context, attention_inputs=dataclasses.replace(context.attention_inputs, key=key)), 5)


def test_cls_never_goes_and_sizes_add_up():
    context = tower_context(patches=16)
    merging = ToMe(retain=8).merge(context)
    assert bool(merging.keep[:, 0].all())
    assert not bool((merging.into[:, 1:] == 0).any())
    assert merging.proportional


def test_tokens_that_nothing_joins_keep_their_bits():
    context = tower_context(patches=16)
    merging = ToMe(retain=13).merge(context)
    for tile in range(2):
        joined = set(merging.into[tile][~merging.keep[tile]].tolist())
        for token in range(17):
            if merging.keep[tile, token] and token not in joined:
                assert torch.equal(merging.hidden[tile, token], context.hidden[tile, token])


def test_half_precision_is_averaged_in_full():
    context = tower_context(patches=16)
    half = dataclasses.replace(context, hidden=context.hidden.half())
    got, exact = ToMe(retain=8).merge(half).hidden, ToMe(retain=8).merge(context).hidden
    assert got.dtype == torch.float16
    torch.testing.assert_close(got.float(), exact, atol=2e-3, rtol=2e-3)


def test_matching_nothing():
    keys = torch.randn(2, 5, 3)
    assert torch.equal(match_tokens(keys, 1, 0), torch.arange(5).expand(2, 5))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 700), steps=st.integers(1, 24), data=st.data())
def test_the_same_rate_in_every_layer(n, steps, data):
    least = n
    for _ in range(steps):
        least -= least // 2
    target = data.draw(st.integers(least, n))
    counts = constant(n, target, steps, lambda count: count // 2)
    assert len(counts) == steps
    assert counts[-1] == target
    taken = [before - after for before, after in zip([n, *counts], counts, strict=False)]
    limits = [before // 2 for before in [n, *counts[:-1]]]
    assert all(0 <= took <= limit for took, limit in zip(taken, limits, strict=True))
    rate = max(taken)
    acting = [index for index, took in enumerate(taken) if took]
    for index in acting[:-1]:
        assert taken[index] in (rate, limits[index])


def test_known_rates():
    assert constant(576, 576 - 23 * 16, 23, lambda count: count // 2)[:3] == [560, 544, 528]
    assert geometric(196, 70, 3) == [139, 99, 70]
    assert geometric(16, 16, 2) == [16, 16]


def test_out_of_reach():
    with pytest.raises(InvalidValueError, match="down to 4"):
        constant(16, 3, 2, lambda count: count // 2)


def test_settings():
    assert ToMe().tower_after(3) == (1, 2, 3)
    assert ToMe.from_dict(ToMe(retain=64, proportional=False).to_dict()) == ToMe(retain=64, proportional=False)
    with pytest.raises(InvalidValueError, match="retain"):
        ToMe(retain=0.0)
