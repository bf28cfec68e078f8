"""Pooling equals adaptive average pooling, for every count."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.examples import STILL, placeless
from methods.making import visual_tokens_of
from methods.test_nuwa import sheets_of
from torch.nn import functional

from todre.errors import InvalidValueError
from todre.methods.pooling import Pooling, cells
from todre.methods.shared.budgets import shares
from todre.tensors.token_facts import Signal


@settings(max_examples=200, deadline=None)
@given(rows=st.integers(1, 24), columns=st.integers(1, 24), data=st.data())
def test_cells_cover_the_raster(rows, columns, data):
    count = data.draw(st.integers(1, rows * columns))
    found = cells(rows, columns, count)
    assert len(found) == count
    assert len({centre for _, centre in found}) == count
    covered = np.zeros((rows, columns), dtype=bool)
    for (top, bottom, left, right), (row, column) in found:
        assert 0 <= top <= row < bottom <= rows
        assert 0 <= left <= column < right <= columns
        covered[top:bottom, left:right] = True
    assert covered.all()


@pytest.mark.parametrize(
    ("rows", "columns", "count", "lines"), [(24, 24, 64, 8), (24, 24, 144, 12), (24, 24, 192, 12), (24, 36, 24, 4)]
)
def test_counts_with_factors_are_adaptive_average_pooling(rows, columns, count, lines):
    visual = visual_tokens_of(rows * columns, column=columns)
    selection = Pooling(retain=count).select(visual)
    image = visual.embeddings.view(rows, columns, -1).permute(2, 0, 1)
    expected = functional.adaptive_avg_pool2d(image.double(), (lines, count // lines)).flatten(1).T
    torch.testing.assert_close(selection.embeddings[selection.keep].double(), expected, atol=1e-5, rtol=1e-5)
    step, across = rows / lines, columns / (count // lines)
    for place, index in enumerate(selection.keep.nonzero().flatten().tolist()):
        centre = (place // (count // lines) + 0.5) * step, (place % (count // lines) + 0.5) * across
        assert math.dist((index // columns + 0.5, index % columns + 0.5), centre) <= math.sqrt(0.5) + 1e-9


def test_a_prime_count_has_uneven_lines():
    found = cells(24, 24, 37)
    lines = {}
    for (top, *_), _ in found:
        lines[top] = lines.get(top, 0) + 1
    assert sorted(lines.values()) == [6, 6, 6, 6, 6, 7]


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(STILL)), seed=st.integers(0, 99), data=st.data())
def test_every_raster_is_pooled_by_itself(name, seed, data):
    visual = STILL[name](seed)
    k = data.draw(st.integers(1, len(visual)))
    selection = Pooling(retain=k).select(visual)
    assert int(selection.keep.sum()) == k
    sheets = sheets_of(visual)
    room = min(k, len(visual) - int(visual.newline.sum()))
    for sheet, share in zip(sheets, shares(room, [len(sheet) for sheet in sheets]), strict=True):
        place = {(int(visual.row[i]), int(visual.column[i])): i for i in sheet}
        rows, columns = max(row for row, _ in place) + 1, max(column for _, column in place) + 1
        assert [i for i in sheet if selection.keep[i]] == sorted(
            place[centre] for _, centre in cells(rows, columns, share)
        )
        for (top, bottom, left, right), centre in cells(rows, columns, share):
            members = [place[row, column] for row in range(top, bottom) for column in range(left, right)]
            mean = np.mean([visual.embeddings[i].double().numpy() for i in members], axis=0)
            got = selection.embeddings[place[centre]].double()
            torch.testing.assert_close(got, torch.from_numpy(mean), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(STILL))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeping_all_changes_no_bit(name, dtype):
    visual = STILL[name]()
    visual = visual.with_embeddings(visual.embeddings.to(dtype))
    selection = Pooling(retain=1.0).select(visual)
    assert bool(selection.keep.all())
    assert torch.equal(selection.embeddings, visual.embeddings)


def test_tokens_without_a_place_are_a_line():
    selection = Pooling(retain=4).select(placeless(n=12))
    assert selection.keep.nonzero().flatten().tolist() == [1, 4, 7, 10]
    torch.testing.assert_close(selection.embeddings[1], placeless(n=12).embeddings[:3].mean(dim=0))


def test_settings():
    assert Pooling().signals() == (Signal("grid"),)
    assert Pooling.from_dict(Pooling(retain=64).to_dict()) == Pooling(retain=64)
    with pytest.raises(InvalidValueError):
        Pooling(retain=0)
