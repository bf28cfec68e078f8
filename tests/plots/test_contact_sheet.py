"""The contact sheet: each frame bright where its own kept tokens looked, its time under it, nothing drawn twice."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from todre.errors import MissingDependencyError
from todre.geometry import TokenBox
from todre.plots.contact_sheet import Sheet, _grid, clock, contact_sheet_figure, frames_of
from todre.plots.kept_tokens import save_figure
from todre.plots.marks import LIGHT, Panel

BLACK = Image.new("RGB", (40, 20), (0, 0, 0))
TIMES = tuple(0.5 * index for index in range(6))


def boxes(frames, step=1):
    """Two tokens for each `step` frames, left and right half, and a newline at the end."""
    halves = [(0, 20), (20, 40)]
    grid = [TokenBox(0, "grid", a, 0, b, 20, frame, step) for frame in range(0, frames, step) for a, b in halves]
    return [*grid, TokenBox(0, "newline", 40, 0, 40, 20, frames - 1)]


def sheet(*kept_of_panels, frames=6, step=1, caption="Why?"):
    panels = [Panel(f"m{i}", ("2 of 13", "“$yes$”"), kept) for i, kept in enumerate(kept_of_panels)]
    return Sheet([BLACK] * frames, TIMES[:frames], boxes(frames, step), panels, caption)


def strengths(axes):
    """On black frames the fade to white can be read back exactly: mean strength of the halves of each frame."""
    halves = []
    for image in axes.images:
        strength = 1 - np.asarray(image.get_array())[..., 0] / 255
        middle = strength.shape[1] // 2
        halves.append((strength[:, :middle].mean(), strength[:, middle:].mean()))
    return np.array(halves)


def test_each_frame_is_lit_by_its_own_tokens():
    figure = contact_sheet_figure([sheet([0, 3, 9, 11])])
    (axes,) = figure.axes
    expected = np.full((6, 2), LIGHT["dropped"])
    for token in (0, 3, 9, 11):
        expected[token // 2, token % 2] = 1.0
    assert strengths(axes) == pytest.approx(expected, abs=0.01)


def test_a_token_of_two_frames_lights_both():
    figure = contact_sheet_figure([sheet([2], step=2)])
    expected = np.full((6, 2), LIGHT["dropped"])
    expected[[2, 3], 0] = 1.0
    assert strengths(figure.axes[0]) == pytest.approx(expected, abs=0.01)


def test_frames_stand_over_their_marks():
    """The frame drawn around a token lies in the picture of the frame that it looks at."""
    (axes,) = contact_sheet_figure([sheet([7, 12])]).axes
    (corners,) = [path.vertices for marks in axes.collections for path in marks.get_paths() if len(path.vertices) > 2]
    left, right, bottom, top = axes.images[3].get_extent()
    assert (corners[:, 0].min(), corners[:, 0].max()) == pytest.approx(((left + right) / 2, right))
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((top, bottom))
    lines = [marks for marks in axes.collections if hasattr(marks, "get_segments")]
    ticks = [segment for marks in lines for segment in marks.get_segments()]
    last = axes.images[5].get_extent()
    assert len(ticks) == 1
    assert last[1] < ticks[0][0][0] < ticks[0][1][0]


def test_times_and_counts_stand_under_the_frames():
    (axes,) = contact_sheet_figure([sheet([0, 1, 2, 12])]).axes
    reply = [text.get_text() for text in axes.texts]
    assert [text for text in reply if text.endswith(" s")] == [f"{time:.2f} s" for time in TIMES]
    counts = ["2 of 2", "1 of 2", *["0 of 2"] * 3, "1 of 3"]
    assert [text for text in reply if " of " in text and "\n" not in text] == counts
    assert axes.get_title(loc="left") == "m0"


def test_the_question_stands_over_every_panel():
    figure = contact_sheet_figure([sheet([0, 1], [2], range(13)), sheet([0], frames=4, caption="Who? " * 100)])
    over = [next(text.get_text() for text in axes.texts if "2 of 13" in text.get_text()) for axes in figure.axes]
    assert over[:3] == ["Why?\n2 of 13\n“$yes$”"] * 3
    assert over[3].startswith("Who? Who?")
    assert over[3].count("\n") <= 4


def test_everything_kept_shows_bare_frames():
    figure = contact_sheet_figure([sheet(range(13))])
    assert np.array_equal(np.asarray(figure.axes[0].images[0].get_array()), np.asarray(BLACK))
    assert len(figure.axes[0].collections) == 0
    assert figure.legends == []


def test_panels_stand_below_one_another_and_clips_too():
    figure = contact_sheet_figure([sheet([0], [1], range(13)), sheet([0], frames=4)])
    assert len(figure.axes) == 4
    assert [len(axes.images) for axes in figure.axes] == [6, 6, 6, 4]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["kept token"]


def test_a_still_picture_is_a_sheet_without_times():
    halves = [TokenBox(0, "grid", 0, 0, 20, 20), TokenBox(0, "grid", 20, 0, 40, 20)]
    (axes,) = contact_sheet_figure([Sheet([BLACK], (), halves, [Panel("m", (), [1])])]).axes
    assert strengths(axes) == pytest.approx(np.array([[LIGHT["dropped"], 1.0]]), abs=0.01)
    assert [text.get_text() for text in axes.texts if " s" in text.get_text()] == []


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(8, 900), st.integers(8, 900), st.integers(1, 4))
def test_frames_never_overlap(count, width, height, panels):
    frames = [Image.new("RGB", (width, height))] * count
    grid = _grid(Sheet(frames, (), [], [Panel("m", (), [])] * panels))
    across, down = grid.size
    assert grid.columns * grid.rows >= count > grid.columns * (grid.rows - 1)
    places = [grid.origin(index) for index in range(count)]
    assert len(set(places)) == count
    for x, y in places:
        assert x + width <= across + 1e-6
        assert y + height <= down
    columns = sorted({x for x, _ in places})
    assert all(there - here > width for here, there in pairwise(columns))
    assert across * grid.inch <= 9.01


def test_which_frames_a_token_looks_at():
    assert list(frames_of(TokenBox(0, "grid", 0, 0, 1, 1, 2, 2), 6)) == [2, 3]
    assert list(frames_of(TokenBox(0, "grid", 0, 0, 1, 1, 4, 2), 5)) == [4]
    assert list(frames_of(TokenBox(0, "grid", 0, 0, 1, 1), 1)) == [0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (1.25, "1.25 s"), (59.99, "59.99 s"), (59.996, "1:00.0"), (125.34, "2:05.3"), (3599.96, "1:00:00"),
     (3725, "1:02:05")],
)  # fmt: skip
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_png_is_deterministic_and_whole(tmp_path):
    for name in ("a.png", "b.png"):
        save_figure(contact_sheet_figure([sheet([0, 9], [3])]), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_without_matplotlib(monkeypatch):
    monkeypatch.setattr("todre.plots.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'todre\[plots\]'"):
        contact_sheet_figure([sheet([0])])
