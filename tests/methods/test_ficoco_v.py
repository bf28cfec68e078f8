"""FiCoCo-V: filter, correlate and compress equal loops in float64."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from towers import consistent, tower_context

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.methods.ficoco_v import FiCoCoV


def unit(values):
    length = math.sqrt(sum(float(value) ** 2 for value in values))
    return [float(value) / length if length else 0.0 for value in values]


def brute(context, r, method):
    """Kept tokens, targets of the others, and states of each tile, by loops."""
    side, results = math.isqrt(context.patches), []
    for tile in range(len(context.hidden)):
        query, key = (
            context.attention_inputs.query[tile].double().numpy(),
            context.attention_inputs.key[tile].double().numpy(),
        )
        heads, tokens = query.shape[:2]
        logit = lambda i, j: sum(float(query[h, i] @ key[h, j]) for h in range(heads)) * 0.5 / heads  # noqa: B023, E731
        z = np.array([[logit(i, j) for j in range(tokens)] for i in range(tokens)])
        patches = range(1, tokens)
        alike = unit([np.mean([z[i, j] for j in patches]) for i in patches])
        cls = unit([z[0, j] for j in patches])
        score = [method.balance * u - (1 - method.balance) * c for u, c in zip(alike, cls, strict=True)]
        windows = {}
        for index, place in enumerate(context.place[tile, 1:].tolist()):
            windows.setdefault((place // side // 2, place % side // 2), []).append(index)
        pushed = list(score)
        for members in windows.values():
            worst = max(members, key=lambda index: (score[index], -index))
            negated = -score[worst]
            pushed[worst] = -(negated * method.penalty if negated < 0 else negated / method.penalty)
        order = sorted(range(len(score)), key=lambda index: (-pushed[index], index))
        gone, kept = order[:r], sorted(order[r:])
        k = min(max(math.ceil(round((1 - method.quantile) * (len(score) - 1), 9)), 1), len(kept))
        hidden = context.hidden[tile].double().numpy().copy()
        into, received = list(range(tokens)), {index: [] for index in kept}
        for index in gone:
            best = sorted(kept, key=lambda other: (-z[index + 1, other + 1], other))[:k]
            weights = np.exp([z[index + 1, other + 1] for other in best])
            weights = weights / weights.sum()
            into[index + 1] = best[0] + 1
            for other, weight in zip(best, weights, strict=True):
                received[other].append((weight, context.hidden[tile, index + 1].double().numpy()))
        for other, parts in received.items():
            total = hidden[other + 1] + sum(weight * state for weight, state in parts)
            hidden[other + 1] = total / (1 + sum(weight for weight, _ in parts))
        results.append((into, hidden))
    return results


@settings(max_examples=25, deadline=None)
@given(side=st.integers(2, 5), seed=st.integers(0, 9999), penalty=st.sampled_from([1.0, 2.0, 3.0]), data=st.data())
def test_equals_the_brute_force(side, seed, penalty, data):
    patches = side**2
    gone = data.draw(st.integers(0, patches // 3))
    left = data.draw(st.integers(1, patches - gone))
    context = tower_context(patches=patches, gone=gone, seed=seed)
    quantile = data.draw(st.sampled_from([0.998, 0.8, 0.5]))
    method = FiCoCoV(retain=left, start=0.0, penalty=penalty, quantile=quantile)
    merging = method.merge(context)
    consistent(merging, context)
    assert int(merging.keep.sum(dim=1)[0]) == left + 1
    if patches - gone == left:
        assert merging.hidden is None
        return
    for tile, (into, hidden) in enumerate(brute(context, patches - gone - left, method)):
        assert merging.into[tile].tolist() == into
        kept = merging.keep[tile]
        torch.testing.assert_close(
            merging.hidden[tile][kept].double(), torch.from_numpy(hidden)[kept], atol=1e-5, rtol=1e-5
        )


def test_ties_go_to_the_first():
    context = tower_context(patches=16)
    seen = dataclasses.replace(context.attention_inputs, key=torch.zeros_like(context.attention_inputs.key))
    context = dataclasses.replace(context, attention_inputs=seen)
    merging = FiCoCoV(retain=12, start=0.0).merge(context)
    assert (~merging.keep[0]).nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert merging.into[0, 1:5].tolist() == [5, 5, 5, 5]
    torch.testing.assert_close(merging.hidden[0, 5], context.hidden[0, 1:6].mean(dim=0))


def test_tokens_that_receive_nothing_keep_their_bits():
    context = tower_context(patches=16)
    merging = FiCoCoV(retain=15, start=0.0).merge(context)
    target = int(merging.into[0][~merging.keep[0]][0])
    same = (merging.hidden[0] == context.hidden[0]).all(dim=-1)
    assert same[merging.keep[0]].sum() == 15
    assert not bool(same[target])


def test_a_raster_that_is_not_square_is_refused():
    with pytest.raises(UnsupportedModelError, match="no square"):
        FiCoCoV(retain=3, start=0.0).merge(tower_context(patches=12))


@pytest.mark.parametrize(("n_layers", "first"), [(23, 13), (24, 13), (2, 2), (1, 1)])
def test_where_tokens_leave(n_layers, first):
    assert FiCoCoV().tower_after(n_layers) == tuple(range(first, n_layers + 1))


def test_settings():
    assert FiCoCoV.from_dict(FiCoCoV(retain=114).to_dict()) == FiCoCoV(retain=114)
    for wrong in ({"balance": 1.5}, {"penalty": 0.5}, {"quantile": -0.1}, {"start": "half"}, {"retain": 0}):
        with pytest.raises(InvalidValueError):
            FiCoCoV(**wrong)
