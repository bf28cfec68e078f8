"""Animations: frames decoded from the file show the tokens of the records, and every kind of file is whole."""

import numpy as np
import pytest
from PIL import Image

from todre.clips import ClipWarning, open_clip
from todre.errors import InvalidValueError, MissingDependencyError
from todre.geometry import TokenBox
from todre.plots.animation_charts import draw_chart
from todre.plots.animation_files import HOLD, require_writer, write_animation
from todre.plots.animation_frames import Animation, BudgetFrame, LayerFrame, OrderFrame
from todre.plots.animations import animation_images

SIDE, CELL = 6, 16
BLACK = Image.new("RGB", (SIDE * CELL, SIDE * CELL), (0, 0, 0))
BOXES = [
    TokenBox(0, "grid", CELL * column, CELL * row, CELL * (column + 1), CELL * (row + 1))
    for row in range(SIDE) for column in range(SIDE)
]  # fmt: skip
ORDER = [7, 0, 35, 21, 4, 30, 12, 5]
CHOICE = Animation(BLACK, BOXES, "m", "Why $x$?", "yes", [
    OrderFrame(tuple(ORDER[:count]), 1, 1 / count) for count in range(1, len(ORDER) + 1)
])  # fmt: skip
BUDGETS = Animation(BLACK, BOXES, "m", "Why?", "", [
    BudgetFrame("50 %", tuple(range(18)), "yes", False),
    BudgetFrame("25 %", tuple(range(9)), "yes", False),
    BudgetFrame("10 %", (1, 2, 3, 4), "no", True),
])  # fmt: skip
LAYERS = Animation(BLACK, BOXES, "m", "Why?", "yes", [
    LayerFrame(0, tuple(range(36)), 36), LayerFrame(1, tuple(range(12)), 12), LayerFrame(2, (3, 4), 2),
    LayerFrame(3, (), 0),
])  # fmt: skip
ALL = {"order": CHOICE, "budget": BUDGETS, "layers": LAYERS}


def decoded(path):
    """The frames of a file, RGB."""
    if path.suffix == ".mp4":
        with pytest.warns(ClipWarning):  # it has fewer
            return list(open_clip(path, 1000).frames)
    with Image.open(path) as film:
        found = []
        for number in range(film.n_frames):
            film.seek(number)
            found.append(film.convert("RGB"))
        return found


def region(frames):
    """Where the picture lies: the pixels that are pale or dark grey in all frames, but not white."""
    table = np.stack([np.asarray(frame.convert("L"), dtype=int)[:, : frame.width * 4 // 7] for frame in frames])
    inside = (table < 225).all(axis=0)
    rows, columns = np.flatnonzero(inside.mean(axis=1) > 0.5), np.flatnonzero(inside.mean(axis=0) > 0.3)
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def lit_cells(frame, place):
    """The cells of the picture whose middles are black."""
    top, bottom, left, right = place
    pixels = np.asarray(frame.convert("L"), dtype=int)[top:bottom, left:right]
    down, across = pixels.shape[0] / SIDE, pixels.shape[1] / SIDE
    middles = [
        pixels[round((row + 0.35) * down) : round((row + 0.65) * down),
               round((column + 0.35) * across) : round((column + 0.65) * across)].mean()
        for row in range(SIDE) for column in range(SIDE)
    ]  # fmt: skip
    return {cell for cell, middle in enumerate(middles) if middle < 100}


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
@pytest.mark.parametrize("kind", ALL)
def test_decoded_frames_show_the_tokens_of_the_records(tmp_path, kind, suffix):
    shown, path = ALL[kind], tmp_path / f"a{suffix}"
    write_animation(list(animation_images(shown, 400)), path, 300)
    assert list(tmp_path.iterdir()) == [path]
    frames = decoded(path)
    assert len(frames) == len(shown.frames)
    assert {frame.width for frame in frames} == {400}
    place = region(frames if kind == "order" else list(animation_images(CHOICE, 400)))
    for frame, record in zip(frames, shown.frames, strict=True):
        assert lit_cells(frame, place) == set(record.kept)


def test_the_newest_token_alone_has_a_pink_frame():
    frames = list(animation_images(CHOICE, 640))
    place = region(frames)
    top, bottom, left, right = place
    size = (bottom - top) / SIDE
    for frame, record in zip(frames, CHOICE.frames, strict=True):
        pixels = np.asarray(frame, dtype=int)[top:bottom, left:right]
        pink = np.argwhere((abs(pixels - np.array([204, 121, 167])) < 12).all(axis=2))
        row, column = divmod(record.kept[-1], SIDE)
        assert len(pink) > 2 * size
        middle = (pink.min(axis=0) + pink.max(axis=0)) / 2
        assert abs(middle - [(row + 0.5) * size, (column + 0.5) * size]).max() < 4


@pytest.mark.parametrize("width", [320, 333, 640, 1280])
def test_frames_are_as_wide_as_asked_and_of_one_even_height(width):
    sizes = {frame.size for frame in animation_images(LAYERS, width)}
    assert len(sizes) == 1
    ((across, down),) = sizes
    assert across == width
    assert down % 2 == 0


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_an_odd_width_and_a_single_frame_are_written(tmp_path, suffix):
    single = Animation(BLACK, BOXES, "m", "Why?", "yes", CHOICE.frames[:1])
    write_animation(list(animation_images(single, 333)), tmp_path / f"a{suffix}", 100)
    (frame,) = decoded(tmp_path / f"a{suffix}")
    assert frame.width == 333


@pytest.mark.parametrize("shape", [(2000, 40), (40, 2000), (1, 1), (3000, 2000)])
def test_pictures_of_any_shape_are_drawn(shape):
    boxes = [TokenBox(0, "thumbnail", 0, 0, *shape), TokenBox(0, "newline", shape[0], 0, shape[0], shape[1])]
    shown = Animation(Image.new("RGB", shape), boxes, "m" * 300, "Why? " * 200, "no " * 200, [
        OrderFrame((1,), 1, 1.0), OrderFrame((1, 0), 1, 0.0),
    ])  # fmt: skip
    first, second = animation_images(shown, 400)
    assert first.height == second.height < 800
    assert first.tobytes() != second.tobytes()


def test_what_stays_the_same_keeps_its_colours_and_white_is_white(tmp_path):
    write_animation(list(animation_images(CHOICE, 400)), tmp_path / "a.gif", 100)
    assert {frame.getpixel((0, 0)) for frame in decoded(tmp_path / "a.gif")} == {(255, 255, 255)}


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_durations_and_the_last_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_animation(list(animation_images(BUDGETS, 320)), path, 130)
    with Image.open(path) as film:
        durations = []
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            durations.append(film.info["duration"])
        assert film.info["loop"] == 0
    assert durations == [130, 130, HOLD]


def test_the_duration_of_an_mp4(tmp_path):
    write_animation(list(animation_images(BUDGETS, 320)), tmp_path / "a.mp4", 130)
    clip = open_clip(tmp_path / "a.mp4", 3)
    assert clip.timestamps == pytest.approx((0, 0.13, 0.26), abs=0.001)
    assert clip.total_frames == 3


@pytest.mark.parametrize(
    ("frames", "name", "duration", "words"),
    [
        ([], "a.gif", 100, "0 frames"),
        ([BLACK], "a.png", 100, ".gif, .webp, .mp4"),
        ([BLACK], "a", 100, ".gif, .webp, .mp4"),
        ([BLACK], "a.gif", 25, "25 ms"),
        ([BLACK], "a.gif", 0, "0 ms"),
        ([BLACK], "a.mp4", 20_000, "20000 ms"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(tmp_path, frames, name, duration, words):
    with pytest.raises(InvalidValueError, match=words.replace(".", r"\.")):
        write_animation(frames, tmp_path / name, duration)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.Image.save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_animation([BLACK], tmp_path / "a.webp", 100)
    assert not list(tmp_path.iterdir())


def test_without_the_packages(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'todre\[plots\]'"):
        next(animation_images(CHOICE, 320))
    with pytest.raises(MissingDependencyError, match=r"pip install 'todre\[video\]'"):
        require_writer(tmp_path / "a.MP4")
    require_writer(tmp_path / "a.gif")


def chart(animation, count):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_chart(axes, animation.frames[:count], animation.frames, len(animation.boxes))
    return axes


def test_the_radius_grows_to_the_present_frame():
    line, dot = chart(CHOICE, 5).lines
    assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(line.get_ydata()) == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([5], [1 / 5])
    assert chart(CHOICE, 1).get_xlim() == chart(CHOICE, 8).get_xlim()
    assert chart(CHOICE, 1).get_ylim() == chart(CHOICE, 8).get_ylim()


def test_a_bar_is_as_high_as_its_layer_has_tokens():
    for count in (1, 3, 4):
        assert [bar.get_height() for bar in chart(LAYERS, count).patches] == [36, 12, 2, 0][:count]


def test_a_red_line_stands_where_the_answer_changes():
    assert len(chart(BUDGETS, 2).lines) == 2
    axes = chart(BUDGETS, 3)
    change = axes.lines[0]
    assert list(change.get_xdata()) == [pytest.approx(100 * 4 / 36)] * 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["“yes”", "“no”"]
    assert list(axes.lines[1].get_ydata()) == [0, 0, 1]
