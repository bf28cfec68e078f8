"""Labels lie on no other label, near what they name."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from todre.plots.label_places import MARKERS, STRONG, label_ends, label_points, spaced, style
from todre.plots.lines import panels


@settings(max_examples=40)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.floats(0, 2))
def test_positions_are_the_nearest_with_a_gap(wanted, gap):
    """Isotonic regression by its min-max formula, on positions with the gaps taken off."""
    found = spaced(wanted, gap)
    order = sorted(range(len(wanted)), key=lambda place: (wanted[place], place))
    level = np.array([wanted[place] - number * gap for number, place in enumerate(order)])
    n = len(level)
    expected = [max(min(level[a : b + 1].mean() for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    assert [found[place] - number * gap for number, place in enumerate(order)] == pytest.approx(expected, abs=1e-9)
    assert all(found[b] - found[a] >= gap - 1e-9 for a, b in itertools.pairwise(order))


def test_styles_differ():
    looks = [(look["color"], look["marker"]) for look in map(style, range(len(STRONG) * 4))]
    assert len(set(looks)) == len(looks)
    assert len(set(MARKERS)) == len(MARKERS)


def boxes(figure, panel):
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [Text.get_window_extent(note, renderer) for note in panel.texts]


def overlapping(found):
    return [(a, b) for a, b in itertools.combinations(found, 2) if a.overlaps(b)]


def test_labels_at_the_ends_of_lines_lie_apart_in_the_lines_order():
    figure, (panel,) = panels(1, "")
    values = [0.5, 0.501, 0.502, 0.503, 0.1, 0.999]
    panel.set(xlim=(0, 1), ylim=(0, 1))
    label_ends(figure, panel, [(1, value, f"method {value}", "black") for value in values])
    found = boxes(figure, panel)
    assert not overlapping(found)
    heights = [box.y0 for box in found]
    assert np.argsort(heights).tolist() == np.argsort(values).tolist()
    assert all(figure.bbox.contains(box.x1, box.y1) and figure.bbox.contains(box.x0, box.y0) for box in found)


def test_labels_of_points_lie_apart_and_inside_or_are_left_out():
    figure, (panel,) = panels(1, "")
    panel.set(xlim=(0, 1), ylim=(0, 1))
    rng = np.random.default_rng(0)
    points = [(float(x), float(y), f"a method {n} %", "black") for n, (x, y) in enumerate(rng.random((12, 2)) ** 2)]
    left_out = label_points(figure, panel, points)
    found = boxes(figure, panel)
    assert len(found) + len(left_out) == len(points)
    assert len(found) >= 10
    assert not overlapping(found)
    assert all(panel.bbox.contains(box.x0, box.y0) and panel.bbox.contains(box.x1, box.y1) for box in found)
    crowd = [(0.5, 0.5, "the same place and a very long name", "black")] * 50
    assert label_points(figure, panel, crowd)
