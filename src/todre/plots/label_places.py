"""Places of labels that do not overlap, and looks of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from todre.plots.lines import COLOURS, GREY, YELLOW

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

MARKERS = "osD^vPX*"
STRONG = tuple(colour for colour in COLOURS if colour not in (GREY, YELLOW))
"""Colours in which text can be read on white."""
PALE = "#BBBBBB"
"""Colour of lines and points that are shown only for comparison."""
_LEADER = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3}
_WAYS = ((-1, 1), (1, -1), (0, 1.3), (1, 1), (-1, -1), (0, -1.3), (1.3, 0), (-1.3, 0))
_OFFSETS: tuple[tuple[float, float, Literal["left", "center", "right"]], ...] = tuple(
    (0.6 * far * across, 0.8 * far * up, "left" if across > 0 else "right" if across < 0 else "center")
    for far in (9, 18, 30, 44, 60, 80)
    for across, up in _WAYS
)
"""Places to try for a label beside a point, near places first.

Each is (points across, points up, side of the label that faces the point).
"""
Placed = tuple[float, float, str, str]
"""(x, y, label, colour): a point in its axes, its label, and the label's colour."""


def style(place: int) -> dict[str, Any]:
    """Look of the method at `place` (0-based): colour, marker and line."""
    return {
        "color": STRONG[place % len(STRONG)],
        "marker": MARKERS[(place + place // len(STRONG)) % len(MARKERS)],
        "linestyle": "-" if place < len(STRONG) else "--",
    }


def spaced(ideal: Sequence[float], gap: float) -> list[float]:
    """Positions nearest to `ideal` with at least `gap` between any two.

    They keep the order of `ideal`. With the gaps taken off this is isotonic regression, solved by pooling neighbours.
    """
    order = sorted(range(len(ideal)), key=lambda place: (ideal[place], place))
    pools: list[tuple[float, int]] = []
    for number, place in enumerate(order):
        mean, count = ideal[place] - number * gap, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    level = [mean for mean, count in pools for _ in range(count)]
    found = [0.0] * len(ideal)
    for number, place in enumerate(order):
        found[place] = level[number] + number * gap
    return found


def label_ends(figure: Figure, panel: Axes, ends: Sequence[Placed], size: float = 8.5) -> None:
    """Write labels in a column right of the axes, each with a line to its point."""
    figure.draw_without_rendering()
    to_axes = panel.transData + panel.transAxes.inverted()
    heights = [float(to_axes.transform((x, y))[1]) for x, y, _, _ in ends]
    points = panel.get_window_extent().height * 72 / figure.dpi
    # A label's place is its middle; the whole column stays within the axes if it fits.
    levels = spaced(heights, 1.25 * size / points)
    shift = min(0.0, 1.0 - max(levels, default=0.0)) or max(0.0, -min(levels, default=0.0))
    for (x, y, text, colour), level in zip(ends, levels, strict=True):
        panel.annotate(
            text, (x, y), xytext=(1.035, level + shift), textcoords="axes fraction", fontsize=size, color=colour,
            va="center", parse_math=False, annotation_clip=False,
            arrowprops=_LEADER | {"color": colour, "relpos": (0, 0.5)},
        )  # fmt: skip


def label_points(figure: Figure, panel: Axes, points: Sequence[Placed], size: float = 7.5) -> list[str]:
    """Write labels beside their points, inside the axes, without overlap.

    Returns:
        The labels for which there was no room.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    inside, unit = panel.get_window_extent(), figure.dpi / 72
    marks = [panel.transData.transform((x, y)) for x, y, _, _ in points]
    taken: list[Bbox] = []
    left_out = []
    for (x, y, text, colour), mark in zip(points, marks, strict=True):
        note = panel.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=size, color=colour, va="center",
            parse_math=False, zorder=5, bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.8, "linewidth": 0},
            arrowprops=_LEADER | {"color": colour}, in_layout=False,
        )  # fmt: skip
        extent = _text_box(renderer, note)
        for across, up, side in _OFFSETS:
            left = mark[0] + unit * across - extent.width * {"left": 0, "center": 0.5, "right": 1}[side]
            box = Bbox.from_bounds(left, mark[1] + unit * up - extent.height / 2, extent.width, extent.height)
            free = not any(box.overlaps(other) for other in taken) and not any(box.contains(*other) for other in marks)
            if free and inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1):
                taken.append(box)
                note.xyann = (across, up)
                note.set_horizontalalignment(side)
                break
        else:
            note.remove()
            left_out.append(text)
    return left_out


def _text_box(renderer: RendererAgg, note: Annotation) -> Bbox:
    """Box of an annotation's text, in pixels, without its line."""
    from matplotlib.text import Text

    note.update_positions(renderer)
    box: Bbox = Text.get_window_extent(note, renderer)
    return box.padded(1.5)
