"""The figure: bright where a kept token looked, pale elsewhere, the same bytes each time, nothing half-written."""

import numpy as np
import pytest
from PIL import Image

from todre.errors import MissingDependencyError
from todre.geometry import TokenBox
from todre.plots.kept_tokens import MAX_SIDE, Panel, Row, kept_tokens_figure, save_figure
from todre.plots.marks import LIGHT, lit

BLACK = Image.new("RGB", (80, 40), (0, 0, 0))
BOXES = (
    [TokenBox(0, "thumbnail", 20 * c, 20 * r, 20 * c + 20, 20 * r + 20) for r in range(2) for c in range(4)]
    + [TokenBox(0, "crop", 10 * c, 10 * r, 10 * c + 10, 10 * r + 10) for r in range(4) for c in range(8)]
    + [TokenBox(0, "newline", 80, 0, 80, 10), TokenBox(0, "crop", 0, 0, 0, 0)]
)


def row(*kept_of_panels, image=BLACK, caption="Why?"):
    return Row(
        image, BOXES, [Panel(f"m{i}", ("2 of 42", "“$yes$”"), kept) for i, kept in enumerate(kept_of_panels)], caption
    )


def test_brightness_follows_the_boxes():
    """On a black picture the fade to white can be read back exactly."""
    shown = lit(BLACK, [BOXES[0], BOXES[8 + 31]], MAX_SIDE)
    strength = 1 - shown[..., 0] / 255
    assert strength[:20, :20] == pytest.approx(LIGHT["thumbnail"], abs=0.01)
    assert strength[30:, 70:] == pytest.approx(1.0)
    assert strength[:, 20:70] == pytest.approx(LIGHT["dropped"], abs=0.01)


def test_a_crop_outshines_a_thumbnail_whatever_the_order():
    both = [BOXES[8], BOXES[0]]
    assert np.array_equal(lit(BLACK, both, MAX_SIDE), lit(BLACK, both[::-1], MAX_SIDE))
    assert (lit(BLACK, both, MAX_SIDE)[:10, :10] == 0).all()


def test_large_pictures_are_drawn_small():
    wide = Image.new("RGB", (6000, 100))
    assert max(lit(wide, [TokenBox(0, "grid", 0, 0, 3000, 100)], MAX_SIDE).shape) <= 1200


def test_panels_frames_and_legend():
    figure = kept_tokens_figure([row([0, 8, 40], range(42)), row([1])])
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(figure.axes) == 3
    assert len(drawn) == 3
    frames = [sum(len(c.get_paths()) for c in axes.collections) for axes in drawn]
    assert frames[0] >= 3
    assert frames[1] == 0, "a panel that keeps everything shows the bare picture"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == 3


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_the_legend_stays_within_the_figure(panels):
    figure = kept_tokens_figure([row(*[range(41)] * panels)])
    figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert len(figure.legends[0].get_texts()) == 3
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.width


def test_everything_kept_needs_no_legend():
    assert kept_tokens_figure([row(range(42))]).legends == []


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".jpg"])
def test_files_are_written_whole(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_figure(kept_tokens_figure([row([0, 9])]), path)
    assert path.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [path]


def test_png_is_deterministic(tmp_path):
    for name in ("a.png", "b.png"):
        save_figure(kept_tokens_figure([row([0, 9], [3])]), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_figure(kept_tokens_figure([row([0])]), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(monkeypatch):
    monkeypatch.setattr("todre.plots.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'todre\[plots\]'"):
        kept_tokens_figure([row([0])])


def test_very_long_answers_are_cut():
    long = Panel("m", ("word " * 200,), [0])
    figure = kept_tokens_figure([Row(BLACK, BOXES, [long])])
    (text,) = figure.axes[0].texts
    assert text.get_text().count("\n") <= 1
    assert text.get_text().endswith(" …")


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_the_question_stands_in_every_panel_and_nothing_is_cut(panels):
    """Names, questions, counts and answers lie within the figure, and each within its own panel's column."""
    question = "Is there a blue triangle in the picture, or is there none at all? (true: yes)"
    figure = kept_tokens_figure(
        [row(*[range(41)] * panels, caption=question), row([0, 9], image=BLACK.resize((40, 80)))]
    )
    figure.draw_without_rendering()
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == panels + 1
    for axes in drawn:
        (text,) = axes.texts
        name = axes.title if axes.get_title() else axes._left_title
        for shown in (text, name):
            extent = shown.get_window_extent()
            assert extent.y1 <= figure.bbox.y1
            assert extent.x1 <= axes.bbox.x0 + figure.bbox.width / panels
        assert text.get_window_extent().y1 <= name.get_window_extent().y0 + 3
    for axes in drawn[:panels]:
        assert " ".join(axes.texts[0].get_text().split("\n")) == f"{question} 2 of 42 “$yes$”"
