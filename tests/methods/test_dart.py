"""DART against a walk over its pivots in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.dart import DART


def brute(context, row, count, image_pivots=4, text_pivots=4):
    """The rule by loops: pivots by L1 norm of keys; each takes its least similar."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    fresh = decoder_layers.fresh_of(context, row)
    key = context.attention_inputs.key[row].double().numpy()
    norm = {slot: sum(abs(value) for head in key for value in head[slot]) for slot in range(key.shape[1])}
    hidden = context.hidden[row].double().numpy()

    def cosine(one, other):
        a, b = hidden[one - start], hidden[other - start]
        length = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / length if length else 0.0

    ranked = sorted(fresh, key=lambda slot: -norm[slot])
    chosen = ranked[: min(image_pivots, count)]
    texts = sorted((place + start for place in decoder_layers.text_of(context, row)), key=lambda slot: -norm[slot])
    pivots = chosen + texts[:text_pivots]
    left = count - len(chosen)
    for turn, pivot in enumerate(pivots):
        quota = left // len(pivots) + (1 if turn < left % len(pivots) else 0)
        free = sorted((slot for slot in fresh if slot not in chosen), key=lambda slot: round(cosine(slot, pivot), 6))
        chosen = chosen + free[:quota]
    return sorted(chosen)


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 0.0)])
@pytest.mark.parametrize("fields", [{}, {"image_pivots": 1, "text_pivots": 0}, {"image_pivots": 2, "text_pivots": 9}])
@pytest.mark.parametrize("retain", [1, 3, 4, 7, 1.0])
def test_dart(queries, scale, fields, retain):
    context = decoder_layers.made(queries=queries, scale=scale, seed=11)
    reduction = DART(retain=retain, **fields).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        slots = decoder_layers.fresh_of(context, row)
        count = min(retain, len(slots)) if isinstance(retain, int) else len(slots)
        assert decoder_layers.kept(context, reduction, row) == brute(context, row, count, **fields)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_larger_rows(seed, retain):
    rows = ["ss" + "v" * 40 + "t" * 6, "." * 9 + "vvvvt" * 6 + "v" * 5 + "tttt"]
    context = decoder_layers.made(rows, seed=seed)
    reduction = DART(retain=retain).reduce(context)
    for row in range(2):
        assert decoder_layers.kept(context, reduction, row) == brute(context, row, retain)


def test_duplicates_and_zero_tokens():
    context = decoder_layers.made(["s" + "v" * 12 + "ttt"], seed=2)
    context.hidden[0, 3:9] = context.hidden[0, 3]
    context.hidden[0, 9] = 0
    for retain in range(1, 13):
        assert decoder_layers.kept(context, DART(retain=retain).reduce(context), 0) == brute(context, 0, retain)


def test_rows_and_precision():
    context = decoder_layers.made(queries=11, seed=3, dtype=torch.bfloat16)
    reduction = DART(retain=5).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        assert torch.equal(DART(retain=5).reduce(decoder_layers.alone(context, row)).keep[0], reduction.keep[row])


def test_fields():
    assert DART.from_dict(DART().to_dict()) == DART()
    with pytest.raises(InvalidValueError, match="image_pivots must be a whole number of at least 1, not 0"):
        DART(image_pivots=0)
    with pytest.raises(InvalidValueError, match=r"at least 0, not 1\.5"):
        DART(text_pivots=1.5)
    context = decoder_layers.made(["s" + "v" * 10 + "tt"], layer=2, n_layers=8)
    reduction = DART(retain=5, counting="layer-average").reduce(context)
    assert len(decoder_layers.kept(context, reduction, 0)) == (5 * 8 - 10 * 2) // 6
