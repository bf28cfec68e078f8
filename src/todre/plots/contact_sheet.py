"""Contact sheets of clips: all frames with their kept visual tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from todre.geometry import TokenBox
from todre.plots import require_matplotlib
from todre.plots.marks import Panel, draw_legend, draw_marks, draw_title, lit, title_height, title_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "grid": "kept token",
    "crop": "kept crop token",
    "thumbnail": "kept thumbnail token (looks at the whole picture coarsely)",
    "newline": "kept newline token",
}
WIDTH = 9.0
"""Inches across the frames of a sheet."""
LABEL = 0.2
"""Inches under each frame for its time."""
INSET = 0.1
"""Inches between the count under a frame and the frame's right end."""
DPI = 150
_MOST_IN_A_ROW = 10
_LARGEST = 3.0
"""Most inches of a frame's longer side, so that one picture does not fill a page."""


@dataclass(frozen=True)
class Sheet:
    """Frames of a clip, rectangles of its visual tokens, and a panel for each method.

    Attributes:
        frames: pictures of one size; the sheet of a still picture has one frame.
        times: seconds at which each frame is shown; empty for a still picture.
        boxes: boxes of the clip's visual tokens. A token looks at `TokenBox.frames`; `TokenBox.frame` is the first.
        panels: one for each method; `Panel.kept` counts from 0 within `boxes`.
        caption: the question, which stands over every panel.
    """

    frames: Sequence[Image.Image]
    times: Sequence[float]
    boxes: Sequence[TokenBox]
    panels: Sequence[Panel]
    caption: str = ""


@dataclass(frozen=True)
class _Grid:
    """Places of frames on a sheet, in pixels of a frame; a pixel is `inch` inches."""

    count: int
    columns: int
    width: int
    height: int
    inch: float
    right: float
    below: float

    @property
    def rows(self) -> int:
        return math.ceil(self.count / self.columns)

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) of the sheet, without the last gap on the right."""
        across = self.columns * (self.width + self.right) - self.right
        return across, self.rows * (self.height + self.below)

    def origin(self, index: int) -> tuple[float, float]:
        """Upper left corner of a frame."""
        row, column = divmod(index, self.columns)
        return column * (self.width + self.right), row * (self.height + self.below)


def contact_sheet_figure(sheets: Sequence[Sheet]) -> Figure:
    """Figure of each panel as a grid of frames, bright where a kept token looked.

    The question stands over every panel. Colours are those of `kept_tokens_figure`. Under each frame stand its time,
    the number of kept tokens that look at it, and the number of all such tokens. A token made from several frames is
    drawn on each of them. A panel that keeps everything shows bare frames. If a clip has several panels, each has as
    few rows as fit, so that panels can be compared from top to bottom.

    Args:
        sheets: at least one.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    blocks = [(sheet, panel, _grid(sheet)) for sheet in sheets for panel in sheet.panels]
    titles = [title_lines(panel, sheet.caption, WIDTH) for sheet, panel, _ in blocks]
    heights = [grid.size[1] * grid.inch for _, _, grid in blocks]
    above = sum(title_height(lines) + 0.06 for lines in titles)
    figure = Figure(figsize=(WIDTH + 0.3, sum(heights) + above + 0.3), layout="constrained", dpi=DPI)
    places = figure.subplots(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    drawn: set[str] = set()
    for axes, lines, (sheet, panel, grid) in zip(places, titles, blocks, strict=True):
        drawn |= _draw(axes, sheet, panel, grid)
        draw_title(axes, lines)
    draw_legend(figure, LABELS, drawn)
    return figure


def frames_of(box: TokenBox, count: int) -> range:
    """Frames (0-based, of `count`) that a token looks at; all if the box names none."""
    if box.frame is None:
        return range(count)
    return range(box.frame, min(box.frame + box.frames, count))


def _grid(sheet: Sheet) -> _Grid:
    """Grid of a sheet: a block for one panel, as few rows as fit for several."""
    count, (width, height) = len(sheet.frames), sheet.frames[0].size
    most = min(count, _MOST_IN_A_ROW)
    if len(sheet.panels) > 1:
        rows = math.ceil(count / most)
        columns = math.ceil(count / rows)
    else:
        columns = min(range(1, most + 1), key=lambda across: _awkwardness(count, across, width / height))
    newlines = any(box.kind == "newline" for box in sheet.boxes)
    across = min(WIDTH / columns, _LARGEST * min(1.0, width / height))
    inch = across / (width * (1.08 if newlines else 1.03))
    return _Grid(count, columns, width, height, inch, across / inch - width, LABEL / inch)


def _awkwardness(count: int, columns: int, aspect: float) -> float:
    """Penalty of a grid: distance from a 1.6 : 1 shape, and share of empty places."""
    rows = math.ceil(count / columns)
    return abs(math.log(columns * aspect / rows / 1.6)) + 1.5 * (rows * columns - count) / count


def _draw(axes: Axes, sheet: Sheet, panel: Panel, grid: _Grid) -> set[str]:
    """Draw one panel without its title; return the kinds of token that it shows."""
    everything = len(panel.kept) == len(sheet.boxes)
    kept = [sheet.boxes[index] for index in panel.kept]
    longest = math.ceil(max(grid.width, grid.height) * grid.inch * DPI)
    for index, frame in enumerate(sheet.frames):
        x, y = grid.origin(index)
        here = [box for box in kept if index in frames_of(box, grid.count)]
        shown = frame if everything else lit(frame, here, longest)
        axes.imshow(np.asarray(shown), extent=(x, x + grid.width, y + grid.height, y), interpolation="antialiased")
        if not everything:
            draw_marks(axes, here, frame.size, (x, y))
        _label(axes, sheet, index, len(here), grid)
    axes.set_axis_off()
    width, height = grid.size
    axes.set_xlim(0, max(width, WIDTH / grid.inch))
    axes.set_ylim(height, 0)
    axes.set_anchor("NW")
    return set() if everything else {str(box.kind) for box in kept} & set(LABELS)


def _label(axes: Axes, sheet: Sheet, index: int, kept: int, grid: _Grid) -> None:
    """Write under a frame: its time at the left, its kept tokens at the right."""
    x, y = grid.origin(index)
    looking = sum(index in frames_of(box, grid.count) for box in sheet.boxes)
    counts = f"{kept} of {looking}" if grid.width * grid.inch > 1.2 else str(kept)
    below = y + grid.height + 0.03 / grid.inch
    if sheet.times:
        time = clock(sheet.times[index])
        axes.text(x, below, time, va="top", fontsize=8, color="#333333", parse_math=False)
    end = x + grid.width - INSET / grid.inch
    axes.text(end, below, counts, va="top", ha="right", fontsize=8, color="#666666", parse_math=False)


def clock(seconds: float) -> str:
    """Text of a time: "1.25 s", from a minute "2:05.3", from an hour "1:02:05"."""
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    tenths = round(seconds * 10)
    if tenths < 36000:
        return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
