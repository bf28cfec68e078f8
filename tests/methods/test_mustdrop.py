"""MustDrop's filter against both thresholds written out in float64."""

from __future__ import annotations

import pytest
import torch
from methods import inside

from todre.errors import InvalidValueError
from todre.methods.mustdrop import MustDrop


def brute(context, row, total, single):
    """Slots kept: those that text as a whole, or one text token, attends to enough."""
    rows = [inside.attention(context.seen, context.kinds, row, place).mean(0) for place in inside.text_of(context, row)]
    fresh = inside.fresh_of(context, row)
    if not rows:
        return fresh
    paid = {slot: sum(line[slot] for line in rows) for slot in fresh}
    whole = sum(paid.values())
    return [slot for slot in fresh if paid[slot] >= total * whole or max(line[slot] for line in rows) >= single]


@pytest.mark.parametrize(("queries", "scale"), [(None, 1.0), (9, 1.0), (None, 3.0)])
@pytest.mark.parametrize("thresholds", [(0.1, 0.05), (0.15, 1.0), (1.0, 0.1), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
def test_both_thresholds_decide(queries, scale, thresholds):
    context = inside.made(queries=queries, scale=scale, seed=5)
    total, single = thresholds
    reduction = MustDrop(total_threshold=total, single_threshold=single).reduce(context)
    for row in range(len(inside.ROWS)):
        assert inside.kept(context, reduction, row) == brute(context, row, total, single)


def test_the_numbers_left_depend_on_the_data():
    lengths = set()
    for seed in range(8):
        context = inside.made(scale=3.0, seed=seed)
        reduction = MustDrop(total_threshold=0.1, single_threshold=0.1).reduce(context)
        lengths.add(len(inside.kept(context, reduction, 0)))
        for row in range(len(inside.ROWS)):
            single = MustDrop(total_threshold=0.1, single_threshold=0.1).reduce(inside.alone(context, row))
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
