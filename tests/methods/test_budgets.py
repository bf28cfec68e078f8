"""Counts that meet a mean over layers, against the arithmetic that papers print."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.methods.shared.budgets import (
    count_after,
    count_before,
    layer_average,
    left_after,
    pyramid,
    ramp,
    stage_counts,
)


@pytest.mark.parametrize(
    ("entered", "layers", "counts", "mean"),
    [
        (284, (20,), (38,), 191.75),  # Information Horizon, LLaVA-1.5-7B at 192 and 64 tokens
        (96, (20,), (10,), 63.75),
        (576, (2, 20), (252, 38), 192.0),
        (576, (1, 20), (60, 27), 63.75),
        (284, (20,), (0,), 177.5),
        (98, (21,), (0,), 64.3125),
        (576, (2, 6, 15), (300, 200, 118), 192.4375),  # SparseVLM 2.0
        (576, (2, 6, 15), (238, 108, 60), 128.0),
        (576, (2, 6, 15), (66, 34, 20), 64.4375),
        (576, (8, 16, 24), (288, 144, 72), 270.0),  # PyramidDrop
    ],
)
def test_the_averages_that_papers_print(entered, layers, counts, mean):
    assert layer_average(entered, layers, counts, 32) == mean


def test_the_counts_that_papers_print():
    assert count_after(192, 284, 20, 32) == 38
    assert count_after(64, 96, 20, 32) == 10
    assert count_before(192, 38, 20, 32) == 284
    assert count_before(64, 10, 20, 32) == 96
    assert stage_counts(192, 576, (2, 20), (252, 38), 32) == (252, 38)


def brute_average(entered, layers, counts, n_layers):
    """Walk the layers one by one."""
    held, total = entered, 0
    for run in range(n_layers):
        if run in layers:
            held = counts[layers.index(run)]
        total += held
    return total / n_layers


PLANS = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.integers(1, 600),
        st.lists(st.integers(1, n - 1), min_size=1, max_size=4, unique=True).map(sorted),
        st.integers(0, 9999),
    )
)


@settings(max_examples=150, deadline=None)
@given(PLANS, st.floats(1.0, 600.0))
def test_stages_meet_the_mean_within_one_token(plan, mean):
    n_layers, entered, layers, seed = plan
    assume(entered * layers[0] / n_layers <= mean)
    shape = sorted(((seed * (stage + 3)) % 101 for stage in range(len(layers))), reverse=True)
    assume(shape[0] > 0)
    counts = stage_counts(mean, entered, layers, shape, n_layers)
    got = brute_average(entered, layers, counts, n_layers)
    assert got == pytest.approx(layer_average(entered, layers, counts, n_layers))
    assert list(counts) == sorted(counts, reverse=True)
    assert all(0 <= count <= entered for count in counts)
    assert got <= mean + 1e-6
    full = all(count == entered or part == 0 for count, part in zip(counts, shape, strict=True))
    assert full or got > min(mean, entered) - 1


@settings(max_examples=150, deadline=None)
@given(PLANS, st.floats(1.0, 600.0))
def test_one_stage_meets_the_mean_and_one_more_would_not(plan, mean):
    n_layers, entered, layers, left = plan
    layer, left = layers[0], left % (entered + 1)
    if entered * layer / n_layers > mean:
        with pytest.raises(InvalidValueError, match="cannot be met"):
            count_after(mean, entered, layer, n_layers)
    else:
        count = count_after(mean, entered, layer, n_layers)
        assert brute_average(entered, [layer], [count], n_layers) <= mean + 1e-6
        assert count == entered or brute_average(entered, [layer], [count + 1], n_layers) > mean
    if left <= mean:
        first = count_before(mean, left, layer, n_layers)
        assert first >= left
        assert brute_average(first, [layer], [left], n_layers) <= mean + 1e-6
        assert brute_average(first + 1, [layer], [left], n_layers) > mean
    else:
        with pytest.raises(InvalidValueError, match="cannot be met"):
            count_before(mean, left, layer, n_layers)


def test_a_pyramid_halves_as_the_paper_prints():
    stages = ((8, 0), (16, 1), (24, 2))
    assert pyramid(0.125, "input", 576, stages, 3, 32) == (288, 144, 72)
    assert pyramid(270, "layer-average", 576, stages, 3, 32) == (288, 144, 72)
    assert pyramid(1.0, "input", 576, stages, 3, 32) == (576, 576, 576)
    assert pyramid(72, "input", 576, stages[1:], 3, 32) == (144, 72)


@settings(max_examples=100, deadline=None)
@given(PLANS, st.integers(1, 600))
def test_a_pyramid_meets_the_mean_within_one_token(plan, mean):
    n_layers, entered, layers, _ = plan
    stages = [(layer, step) for step, layer in enumerate(layers)]
    if mean < entered and entered * layers[0] > mean * n_layers:
        with pytest.raises(InvalidValueError, match="cannot be met"):
            pyramid(mean, "layer-average", entered, stages, len(stages), n_layers)
        return
    counts = pyramid(mean, "layer-average", entered, stages, len(stages), n_layers)
    assert list(counts) == sorted(counts, reverse=True)
    assert min(mean, entered) - 1 < brute_average(entered, layers, counts, n_layers) <= mean + 1e-6
    assert pyramid(mean, "input", entered, stages, len(stages), n_layers)[-1] == min(mean, entered)


@settings(max_examples=100, deadline=None)
@given(PLANS, st.integers(1, 600))
def test_a_ramp_drops_evenly(plan, mean):
    n_layers, entered, layers, _ = plan
    counts = ramp(mean, "input", entered, layers, n_layers)
    steps = [before - after for before, after in zip((entered, *counts), counts, strict=False)]
    assert counts[-1] == min(mean, entered)
    assert max(steps) - min(steps) <= 1
    least = brute_average(entered, layers, ramp(1, "input", entered, layers, n_layers), n_layers) - 1
    if least > mean:
        with pytest.raises(InvalidValueError, match="cannot be met"):
            ramp(mean, "layer-average", entered, layers, n_layers)
    elif least + 1 <= mean:
        got = ramp(mean, "layer-average", entered, layers, n_layers)
        assert min(mean, entered) - 1 < brute_average(entered, layers, got, n_layers) <= mean


def test_what_retain_counts():
    assert left_after(0.25, "input", 576, 2, 32) == 144
    assert left_after(192, "input", 576, 2, 32) == 192
    assert left_after(192, "layer-average", 576, 2, 32) == (192 * 32 - 1152) // 30
    assert left_after(600, "layer-average", 576, 2, 32) == 576
    assert left_after(0.5, "layer-average", 0, 2, 32) == 0
    with pytest.raises(InvalidValueError, match="576 tokens in the first 16 of 32 layers are 288 on average already"):
        left_after(192, "layer-average", 576, 16, 32)
    with pytest.raises(InvalidValueError, match="in the first 32 of 32 layers"):
        left_after(192, "layer-average", 576, 32, 32)
