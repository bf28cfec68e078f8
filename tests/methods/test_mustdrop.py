"""MustDrop's filter against both thresholds written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from methods import decoder_layers

from todre.errors import InvalidValueError
from todre.methods.mustdrop import MustDrop
from todre.tensors.token_facts import Signal

LAST = Signal("auto", -1, even=True)


def signal_map(queries, seed=0, levels=None, unknown=0.2):
    """Random signal of `queries` columns; some are unknown, `levels` make ties."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(len(decoder_layers.ROWS), queries, generator=generator)
    values = values if levels is None else (values * levels).floor()
    return values.masked_fill(torch.rand(values.shape, generator=generator) < unknown, torch.nan)


def key_set(context, row, share):
    """Slots that must stay: a share of those that entered, by known attention."""
    start = context.kinds.shape[1] - context.hidden.shape[1]
    paid = {slot: float(context.signal_maps[LAST][row, slot - start]) for slot in decoder_layers.fresh_of(context, row)}
    known = [slot for slot in paid if not math.isnan(paid[slot])]
    return decoder_layers.top(known, paid, math.ceil(round(share * int(context.entered[row]), 9)))


def brute(context, row, total, single, share=0.0):
    """Slots kept because all text, or one text token, attends to them enough."""
    rows = [
        decoder_layers.attention(context.attention_inputs, context.kinds, row, place).mean(0)
        for place in decoder_layers.text_of(context, row)
    ]
    fresh = decoder_layers.fresh_of(context, row)
    if not rows:
        return fresh
    paid = {slot: sum(line[slot] for line in rows) for slot in fresh}
    whole = sum(paid.values())
    key = key_set(context, row, share) if share else []
    return [
        slot
        for slot in fresh
        if slot in key or paid[slot] >= total * whole or max(line[slot] for line in rows) >= single
    ]


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 3.0)])
@pytest.mark.parametrize("thresholds", [(0.1, 0.05), (0.15, 1.0), (1.0, 0.1), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
def test_both_thresholds_decide(queries, scale, thresholds):
    context = decoder_layers.made(queries=queries, scale=scale, seed=5)
    total, single = thresholds
    reduction = MustDrop(total_threshold=total, single_threshold=single).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        assert decoder_layers.kept(context, reduction, row) == brute(context, row, total, single)


@pytest.mark.parametrize(
    ("queries", "levels", "unknown"), [(13, None, 0.2), (9, None, 0.0), (13, 2, 0.5), (13, 1, 0.0)]
)
@pytest.mark.parametrize("share", [0.0, 0.08, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("thresholds", [(0.15, 1.0), (1.0, 1.0)])
def test_the_key_set_stays(queries, levels, unknown, share, thresholds):
    context = decoder_layers.made(
        queries=queries, scale=2.0, seed=5, signal_maps={LAST: signal_map(queries, 7, levels, unknown)}
    )
    total, single = thresholds
    method = MustDrop(total_threshold=total, single_threshold=single, protected=share)
    reduction = method.reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        assert decoder_layers.kept(context, reduction, row) == brute(context, row, total, single, share)
        assert torch.equal(method.reduce(decoder_layers.alone(context, row)).keep[0], reduction.keep[row])


def test_the_key_set_counts_what_entered_and_not_what_is_left():
    row = "s" + "v" * 10 + "tt"
    paid = torch.arange(13.0)[None]
    context = decoder_layers.made([row], signal_maps={LAST: paid}, entered=[50])
    method = MustDrop(total_threshold=1.0, single_threshold=1.0)
    assert decoder_layers.kept(context, method.reduce(context), 0) == [7, 8, 9, 10]


@pytest.mark.parametrize("known", [{}, {LAST: torch.full((7, 13), torch.nan)}])
def test_without_a_signal_nothing_is_protected(known):
    context = decoder_layers.made(scale=2.0, seed=5, signal_maps=known)
    reduction = MustDrop(total_threshold=0.15, single_threshold=1.0, protected=1.0).reduce(context)
    for row in range(len(decoder_layers.ROWS)):
        assert decoder_layers.kept(context, reduction, row) == brute(context, row, 0.15, 1.0)


def test_only_a_key_set_asks_the_tower():
    assert MustDrop().signals() == (LAST,)
    assert MustDrop(protected=0.0).signals() == ()


def test_the_numbers_left_depend_on_the_data():
    lengths = set()
    for seed in range(8):
        context = decoder_layers.made(scale=3.0, seed=seed)
        reduction = MustDrop(total_threshold=0.1, single_threshold=0.1).reduce(context)
        lengths.add(len(decoder_layers.kept(context, reduction, 0)))
        for row in range(len(decoder_layers.ROWS)):
            single = MustDrop(total_threshold=0.1, single_threshold=0.1).reduce(decoder_layers.alone(context, row))
            assert torch.equal(single.keep[0], reduction.keep[row])
    assert len(lengths) > 1


def test_fields():
    assert MustDrop.published(64) == MustDrop(total_threshold=0.011, single_threshold=0.01)
    assert MustDrop.from_dict(MustDrop().to_dict()) == MustDrop()
    assert MustDrop().reduce_after(32) == (3, 7, 11, 15)
    assert MustDrop().reduce_after(8) == (1, 2, 3)
    with pytest.raises(InvalidValueError, match="tokens must be one of 192, 128, 64, not 5"):
        MustDrop.published(5)
    for field in ("total_threshold", "single_threshold"):
        with pytest.raises(InvalidValueError, match=f"{field} must be a share of attention"):
            MustDrop(**{field: -1})
    for value in (-0.1, 1.1, True, "all", float("nan")):
        with pytest.raises(InvalidValueError, match="protected must be a share"):
            MustDrop(protected=value)
