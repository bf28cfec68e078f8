"""FiCoCo-L: filter, correlate, compress, against loops over logits in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.ficoco_l import FiCoCoL


def logits(context, row):
    """Z: logits before the mask, averaged over heads, between all columns in flight."""
    query, key = (
        context.attention_inputs.query[row].double().numpy(),
        context.attention_inputs.key[row].double().numpy(),
    )
    heads, queries = query.shape[:2]
    z = np.zeros((queries, queries))
    for head in range(heads):
        own = key[head * len(key) // heads][-queries:]
        z += query[head] @ own.T * context.attention_inputs.scaling / heads
    return z


def brute(context, row, count, weights=(0.6, 0.6, 0.998)):
    """Columns kept, and the states they have afterwards."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    z, states = logits(context, row), context.hidden[row].double().numpy()
    visual, text = (
        [slot - start for slot in decoder_layers.fresh_of(context, row)],
        decoder_layers.text_of(context, row),
    )
    if count >= len(visual):
        return {column: states[column] for column in visual}
    redundancy = {}
    for v in visual:
        task = sum(z[v, t] for t in text) / len(text) if text else 0
        redundancy[v] = weights[0] * sum(z[v, j] for j in visual) / len(visual) - (1 - weights[0]) * task
    gone = decoder_layers.ranked(visual, redundancy)[: len(visual) - count]
    left = [v for v in visual if v not in gone]
    several = max(1, math.ceil((1 - weights[2]) * (len(left) - 1) - 1e-9))
    total, weight = {v: states[v].copy() for v in left}, dict.fromkeys(left, 1.0)
    for v in gone if left else ():
        line = {j: weights[1] * z[v, j] + (1 - weights[1]) * sum(z[v, t] * z[t, j] for t in text) for j in left}
        chosen = decoder_layers.ranked(left, line)[:several]
        share = np.exp([line[j] - line[chosen[0]] for j in chosen])
        for j, part in zip(chosen, share / share.sum(), strict=True):
            total[j] += part * states[v]
            weight[j] += part
    return {v: total[v] / weight[v] for v in left}


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 0.0)])
@pytest.mark.parametrize("weights", [(0.6, 0.6, 0.998), (0.3, 0.8, 0.5), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("retain", [1, 3, 6, 1.0])
def test_filter_correlate_compress(queries, scale, weights, retain):
    context = decoder_layers.made(queries=queries, scale=scale, seed=4, layer=7)
    redundancy, direct, quantile = weights
    reduction = FiCoCoL(retain=retain, redundancy=redundancy, direct=direct, quantile=quantile).reduce(context)
    start = context.kinds.shape[1] - context.hidden.shape[1]
    for row in range(len(decoder_layers.ROWS)):
        fresh = decoder_layers.fresh_of(context, row)
        want = brute(context, row, min(retain, len(fresh)) if isinstance(retain, int) else len(fresh), weights)
        assert decoder_layers.kept(context, reduction, row) == sorted(column + start for column in want)
        for column in range(context.hidden.shape[1]):
            if reduction.keep[row, column + start]:
                state = torch.as_tensor(want.get(column, context.hidden[row, column].double()))
                torch.testing.assert_close(reduction.hidden[row, column].double(), state, atol=1e-5, rtol=1e-5)


def test_the_mean_weighs_what_a_target_took_in():
    context = decoder_layers.made(["svvvt"], scale=0.0, layer=7)
    reduction = FiCoCoL(retain=1, quantile=0.9).reduce(context)
    (slot,) = decoder_layers.kept(context, reduction, 0)
    assert slot == 3  # all alike: the first go
    torch.testing.assert_close(reduction.hidden[0, 3], context.hidden[0, 1:4].mean(0))


def test_layers_drop_alike():
    method = FiCoCoL(retain=30)
    assert method.reduce_after(32) == tuple(range(6, 32))
    assert method.reduce_after(8) == tuple(range(1, 8))
    left = []
    for layer in method.reduce_after(8):
        context = decoder_layers.made(["s" + "v" * 100 + "tt"], layer=layer)
        left.append(len(decoder_layers.kept(context, method.reduce(context), 0)))
    assert left == [90, 80, 70, 60, 50, 40, 30]


def test_rows_and_precision():
    for dtype in (torch.float32, torch.bfloat16):
        context = decoder_layers.made(queries=11, seed=3, layer=7, dtype=dtype)
        reduction = FiCoCoL(retain=3).reduce(context)
        assert reduction.hidden.dtype == dtype
        for row in range(len(decoder_layers.ROWS)):
            single = FiCoCoL(retain=3).reduce(decoder_layers.alone(context, row))
            assert torch.equal(single.keep[0], reduction.keep[row])
            torch.testing.assert_close(single.hidden[0], reduction.hidden[row], atol=1e-6, rtol=0)


def test_fields():
    assert FiCoCoL.from_dict(FiCoCoL().to_dict()) == FiCoCoL()
    for field in ("redundancy", "direct", "quantile"):
        with pytest.raises(InvalidValueError, match=rf"{field} must be a share in \[0, 1\], not 1\.5"):
            FiCoCoL(**{field: 1.5})
