"""VFlowOpt's stages and recycling against loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods import decoder_layers
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods.shared.budgets import layer_average
from todre.methods.vflowopt import FITTED, VFlowOpt
from todre.tensors.token_facts import Signal

RECEIVED = Signal("received", -2, even=True)


def mixed(states, scores, gone):
    weights = np.array([max(scores[one], 0) for one in gone], dtype=np.float64)
    weights = weights if weights.sum() > 0 else np.ones(len(gone))
    return sum(weight * states[one] for weight, one in zip(weights, gone, strict=True)) / weights.sum()


@pytest.mark.parametrize("retain", [1, 2, 7, 0.5, 1.0, 30])
@pytest.mark.parametrize("values", [None, torch.zeros(24)])
def test_before_the_llm(retain, values):
    visual = visual_tokens_of(24, seed=4, tile=[0] * 9 + [1, 1, 1, 1, -1] * 3, signals={RECEIVED: values})
    answer = VFlowOpt(retain=retain).select(visual)
    scores = {place: -1.0 if value != value else value for place, value in enumerate(visual.signal(RECEIVED).tolist())}
    count = min(24, retain) if isinstance(retain, int) else round(retain * 24)
    order = decoder_layers.ranked(range(24), scores)
    assert answer.keep.nonzero().flatten().tolist() == sorted(order[:count])
    want = visual.embeddings.double().numpy().copy()
    if 1 < count < 24:
        want[order[count - 1]] = mixed(visual.embeddings.double().numpy(), scores, order[count - 1 :])
    torch.testing.assert_close(answer.embeddings.double(), torch.as_tensor(want), atol=1e-6, rtol=0)
    plain = VFlowOpt(retain=retain, recycle=False).select(visual)
    assert torch.equal(plain.embeddings, visual.embeddings)
    assert torch.equal(plain.keep, answer.keep)


def test_a_tower_that_tells_nothing():
    with pytest.raises(UnsupportedInputError, match="No received signal"):
        VFlowOpt().select(visual_tokens_of(9))


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 0.0)])
@pytest.mark.parametrize(("layer", "share"), [(2, 0.8), (5, 0.4)])
def test_inside_the_llm(queries, scale, layer, share):
    context = decoder_layers.made(queries=queries, scale=scale, layer=layer, seed=6)
    reduction = VFlowOpt(ratios=(0.8, 0.5)).reduce(context)
    start = context.kinds.shape[1] - context.hidden.shape[1]
    for row in range(len(decoder_layers.ROWS)):
        fresh = decoder_layers.fresh_of(context, row)
        if not fresh:
            continue
        scores = decoder_layers.attention(
            context.attention_inputs, context.kinds, row, decoder_layers.last_of(context, row)
        ).mean(0)
        count, order = max(1, round(share * len(fresh))), decoder_layers.ranked(fresh, scores)
        assert decoder_layers.kept(context, reduction, row) == sorted(order[:count])
        states = {slot: context.hidden[row, slot - start].double().numpy() for slot in fresh}
        want = dict(states)
        if 1 < count < len(fresh):
            want[order[count - 1]] = mixed(states, scores, order[count - 1 :])
        for slot in order[:count]:
            got = reduction.hidden[row, slot - start].double()
            torch.testing.assert_close(got, torch.as_tensor(want[slot]), atol=1e-5, rtol=0)
        single = VFlowOpt(ratios=(0.8, 0.5)).reduce(decoder_layers.alone(context, row))
        assert torch.equal(single.keep[0], reduction.keep[row])


@pytest.mark.parametrize("share", FITTED)
def test_the_release_counts_means_over_layers(share):
    method = VFlowOpt.published(share)
    layers = method.reduce_after(28)
    assert layers == (9, 18)
    first, second = method.ratios
    counts = (method.retain * first * 1e4, method.retain * first * second * 1e4)
    assert layer_average(method.retain * 1e4, layers, counts, 28) / 1e4 == pytest.approx(share, abs=1e-3)


def test_fields():
    assert VFlowOpt.from_dict(VFlowOpt().to_dict()) == VFlowOpt()
    for ratios, match in [
        ((0.5,), r" must hold one number for each of the 2 layers, not \(0\.5,\)"),
        ((0.5, 0.0), r"\[1\] must be a share in \(0, 1\], not 0\.0"),
        ((2, 1), r"\[0\] must be a share in \(0, 1\], not 2"),
        (0.5, " must be a list, each a share"),
    ]:
        with pytest.raises(InvalidValueError, match=f"VFlowOpt.ratios{match}"):
            VFlowOpt(ratios=ratios)
    with pytest.raises(InvalidValueError, match=r"share must be one of 0\.1, 0\.25, 0\.5, not 0\.3"):
        VFlowOpt.published(0.3)
