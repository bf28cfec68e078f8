"""The README's figure shows the committed numbers, and says of which model and machine they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from todre.plots.headline import headline_figure

RESULTS = Path(__file__).parents[2] / "results"
NAMES = {"ToDRE v2": "todre", "ToDRE v1": "todre-v1", "[CLS] top-k": "cls-top-k", "random": "random"}


@pytest.fixture
def bench():
    return json.loads((RESULTS / "bench-budgets.json").read_text())


@pytest.fixture(scope="module")
def heldout():
    return json.loads((RESULTS / "heldout.json").read_text())


def seconds(row):
    return row["ms"]["first_token"]["p50"] / 1000


def points(panel):
    """Every point drawn with a marker."""
    return [line.get_xydata() for line in panel.lines if line.get_marker() not in ("None", "", None)]


def test_times_are_the_benchmarks(bench, heldout):
    left, _ = headline_figure(bench, heldout).axes
    rows = {row["subject"]: row for row in bench["rows"]}
    mine, bound = points(left)
    shares = {5.0: "0.05", 10.0: "0.1", 25.0: "0.25"}
    expected = [(share, seconds(rows[f"todre:stages=1@{retain}"])) for share, retain in shares.items()]
    assert mine == pytest.approx(np.array(expected), rel=2e-2)  # shares are of whole tokens
    assert mine[:, 1] == pytest.approx([time for _, time in expected], rel=1e-6)
    bounds = [seconds(rows[f"todre:stages=1@{retain} oracle"]) for retain in shares.values()]
    assert bound[:, 1] == pytest.approx(bounds, rel=1e-6)
    reply = {text.get_text() for text in left.texts}
    none = seconds(rows["none"])
    assert f"{none / expected[0][1]:.1f} times\nas soon" in reply
    assert {f"no pruning  {none:.1f} s", f"ToDRE  {expected[0][1]:.2f} s"} <= reply
    about = left.get_title(loc="left")
    assert "llava-next-260m, random weights, float32; 2,928 visual tokens" in about
    assert "Intel Xeon Processor, 1 thread; medians of 5 rounds" in about


def test_scores_are_the_held_out_ones_with_their_intervals(bench, heldout):
    _, right = headline_figure(bench, heldout).axes
    none = next(row["all"] for row in heldout["rows"] if row["method"] == "none")
    lines = {line.get_label(): line for line in right.lines if not line.get_label().startswith("_")}
    assert set(lines) == set(NAMES)
    for band, (label, line) in zip(right.collections, lines.items(), strict=True):
        rows = [row for row in heldout["rows"] if row["method"] == NAMES[label] and row["stages"] != "1"]
        by_share = {100.0: none} | {100 * row["retain"]: row["all"] for row in rows}
        assert len(by_share) == 4
        for x, y in line.get_xydata():
            found = by_share[x]
            assert y == pytest.approx(100 * found["score"])
            edges = [vertex[1] for vertex in band.get_paths()[0].vertices if vertex[0] == pytest.approx(x)]
            assert (min(edges), max(edges)) == pytest.approx((100 * found["low"], 100 * found["high"]))
    about = right.get_title(loc="left")
    assert "todre-tiny" in about
    assert "2,470 questions about 248 pictures; bands: 95 % intervals" in about


def test_both_panels_have_one_axis_of_shares(bench, heldout):
    left, right = headline_figure(bench, heldout).axes
    assert left.get_xlim() == right.get_xlim()
    assert left.get_xlim()[0] > left.get_xlim()[1]
    for panel in (left, right):
        assert [text.get_text() for text in panel.get_xticklabels()] == ["5", "10", "25", "100"]


def test_nothing_is_cut_or_lies_on_the_other_panel(bench, heldout):
    figure = headline_figure(bench, heldout)
    figure.draw_without_rendering()
    left, right = figure.axes
    for panel, edge in ((left, right.bbox.x0), (right, figure.bbox.x1)):
        for text in panel.texts:
            assert text.get_window_extent().x1 <= edge
            assert text.get_window_extent().y1 <= figure.bbox.y1


def test_several_budgets_are_joined_and_those_without_an_oracle_have_no_ring(bench, heldout):
    bench["rows"] = [row for row in bench["rows"] if row["kind"] != "oracle"]
    left, _ = headline_figure(bench, heldout).axes
    (mine,) = points(left)
    assert [x for x, _ in mine] == [5.0, 10.0, 25.0]
    assert next(line for line in left.lines if line.get_marker() == "o").get_linestyle() == "-"
