"""SwiftVLM: which tokens go on, what proxies carry, how members come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.swiftvlm import SwiftVLM
from todre.methods.views.reduction import ParkedView

LAYERS = (2, 5, 7)


def brute(context, row, count, share=0.1):
    """Slots that go on, the proxy of each other slot, and the proxies' states."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    state = {place + start: value for place, value in enumerate(context.hidden[row].double().numpy())}
    fresh = decoder_layers.fresh_of(context, row)
    scores = decoder_layers.attention(
        context.attention_inputs, context.kinds, row, decoder_layers.last_of(context, row)
    ).mean(0)
    if count >= len(fresh):
        return fresh, {}, {}
    groups = min(max(1, round(share * count)), count - 1)
    order = decoder_layers.ranked(fresh, scores)
    on, others = order[: count - groups], sorted(order[count - groups :])
    anchors = [others[number * len(others) // groups] for number in range(groups)]
    proxy = {}
    for slot in others if groups else ():
        cosine = [
            state[slot] @ state[anchor] / np.linalg.norm(state[slot]) / np.linalg.norm(state[anchor])
            for anchor in anchors
        ]
        proxy[slot] = slot if slot in anchors else anchors[int(np.argmax(np.round(cosine, 7)))]
    carried = {anchor: np.mean([state[slot] for slot in others if proxy[slot] == anchor], axis=0) for anchor in anchors}
    return sorted(on + anchors), proxy, carried


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 0.0)])
@pytest.mark.parametrize(("retain", "share"), [(1, 0.1), (2, 0.1), (4, 0.5), (6, 0.4), (1.0, 0.1)])
def test_who_goes_on_and_how_members_come_back(queries, scale, retain, share):
    context = decoder_layers.made(queries=queries, scale=scale, seed=6, layer=2)
    method = SwiftVLM(retain=retain, layers=LAYERS, proxies=share)
    reduction = method.reduce(context)
    assert reduction.parks
    start = context.kinds.shape[1] - context.hidden.shape[1]
    present = reduction.keep[:, start:] & (context.kinds[:, start:] != 0)
    now = torch.randn(context.hidden.shape, generator=torch.Generator().manual_seed(1)) * present[..., None]
    back = method.rejoin(ParkedView(2, context.hidden, now, present, reduction.memo))
    for row in range(len(decoder_layers.ROWS)):
        fresh = decoder_layers.fresh_of(context, row)
        count = min(retain, len(fresh)) if isinstance(retain, int) else len(fresh)
        on, proxy, carried = brute(context, row, count, share)
        assert decoder_layers.kept(context, reduction, row) == on
        for place in range(context.hidden.shape[1]):
            slot, was = place + start, context.hidden[row, place]
            entering = torch.as_tensor(carried.get(slot, was.double()))
            torch.testing.assert_close(reduction.hidden[row, place].double(), entering, atol=1e-5, rtol=0)
            if slot in proxy:
                change = now[row, proxy[slot] - start].double() - torch.as_tensor(carried[proxy[slot]])
                want = was.double() + change
            else:
                want = (now if present[row, place] else context.hidden)[row, place].double()
            torch.testing.assert_close(back[row, place].double(), want, atol=1e-5, rtol=0)


def test_the_last_stage_drops_for_good():
    context = decoder_layers.made(seed=6, layer=7)
    reduction = SwiftVLM(retain=4, layers=LAYERS).reduce(context)
    assert not reduction.parks
    assert reduction.hidden is None
    for row in range(len(decoder_layers.ROWS)):
        scores = decoder_layers.attention(
            context.attention_inputs, context.kinds, row, decoder_layers.last_of(context, row)
        ).mean(0)
        assert decoder_layers.kept(context, reduction, row) == decoder_layers.top(
            decoder_layers.fresh_of(context, row), scores, 4
        )


def test_layers():
    assert SwiftVLM().reduce_after(32) == (3, 11, 15)
    assert SwiftVLM().rejoin_before(32) == (11, 15)
    assert SwiftVLM(layers=(1, 2, 4, 5)).reduce_after(8) == (2, 5)
    assert SwiftVLM(layers=(1, 2, 4, 5)).rejoin_before(8) == (5,)
    assert SwiftVLM(layers=4).rejoin_before(8) == ()


def test_a_layer_average_counts_the_layers_that_see_everyone():
    method = SwiftVLM(retain=60, layers=LAYERS, counting="layer-average")
    counts = []
    for layer in method.reduce_after(8):
        context = decoder_layers.made(["s" + "v" * 100 + "tt"], layer=layer)
        counts.append(len(decoder_layers.kept(context, method.reduce(context), 0)))
    seen = [100, 100, counts[0], counts[0], 100, counts[1], 100, counts[2]]
    assert 59 < sum(seen) / 8 <= 60
    assert len(set(counts)) == 1


def test_rows_and_fields():
    context = decoder_layers.made(queries=11, seed=3, layer=2)
    method = SwiftVLM(retain=4, layers=LAYERS)
    reduction = method.reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        single = method.reduce(decoder_layers.alone(context, row))
        assert torch.equal(single.keep[0], reduction.keep[row])
        assert torch.equal(single.memo[0][0], reduction.memo[0][row])
    assert SwiftVLM.from_dict(method.to_dict()) == method
    for value in (0, 1, True, "x", float("nan")):
        with pytest.raises(InvalidValueError, match="proxies must be a share of the budget in"):
            SwiftVLM(proxies=value)
