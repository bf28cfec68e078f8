"""Evenly spaced tokens against the formula and against strides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, anyres, assert_exact, clip, kept, pictures, placeless
from methods.making import visual_tokens_of

from todre.errors import InvalidValueError
from todre.methods.uniform import UniformGrid


def spaced(n, k):
    return [int((i + 0.5) * n / k + 1e-9) for i in range(k)]


def lattice(rows, columns, count):
    """Places of `count` tokens on a raster.

    The number of rows is the one with the most equal steps; columns are then spaced.
    """
    best = None
    for lines in range(1, rows + 1):
        if lines <= count <= lines * columns:
            down, across = rows / lines, columns / (count / lines)
            skew = max(down / across, across / down)
            if best is None or skew < best[0] - 1e-12:
                best = (skew, lines)
    lines = best[1]
    counts = [count // lines] * lines
    for line in spaced(lines, count % lines) if count % lines else []:
        counts[line] += 1
    picked = []
    for down, number in zip(spaced(rows, lines), counts, strict=True):
        picked += [down * columns + right for right in spaced(columns, number)]
    return picked


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 60))
def test_the_line_is_the_formula(data, n):
    k = data.draw(st.integers(1, n))
    assert kept(UniformGrid(retain=k, spread="line"), visual_tokens_of(n)) == spaced(n, k)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_one_sheet_is_a_lattice(data, rows, columns):
    n = rows * columns
    k = data.draw(st.integers(1, n))
    visual = visual_tokens_of(n, column=columns)
    assert kept(UniformGrid(retain=k), visual) == lattice(rows, columns, k)


def test_a_count_with_factors_gives_strides():
    visual = visual_tokens_of(64, column=8)
    mask = UniformGrid(retain=16).select(visual).view(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1::2, 1::2] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("retain", [0.05, 0.25, 0.6, 11])
def test_sheets_get_what_the_line_places_there(retain):
    visual = anyres()
    keep = UniformGrid(retain=retain).select(visual)
    line = spaced(64, int(keep.sum()))
    assert int(keep[:16].sum()) == sum(place < 16 for place in line)
    assert not keep[visual.newline].any()


def test_frames_are_covered_even_when_there_are_more_frames_than_tokens():
    visual = clip(frames=12, closing=False)
    frames = visual.frame[UniformGrid(retain=4).select(visual)].tolist()
    assert frames == [1, 4, 7, 10]


def test_a_raster_with_holes_is_a_line():
    visual = visual_tokens_of(9, column=3).take(torch.tensor([0, 1, 2, 4, 5, 6, 8]))
    assert kept(UniformGrid(retain=3), visual) == spaced(7, 3)


@pytest.mark.parametrize("spread", ["grid", "line"])
@pytest.mark.parametrize("visual", [*(make() for make in STILL.values()), placeless(), visual_tokens_of(1)])
def test_exactly_the_budget(visual, spread):
    assert_exact(lambda **fields: UniformGrid(spread=spread, **fields), visual)


def test_only_the_grid_asks_where_tokens_stand():
    assert [signal.kind for signal in UniformGrid().signals()] == ["grid"]
    assert UniformGrid(spread="line").signals() == ()
    assert len(pictures()) == 23


def test_a_bad_value_is_refused():
    with pytest.raises(InvalidValueError, match="grid, line, not 'hex'"):
        UniformGrid(spread="hex")
