"""Pictures with the kept visual tokens over them, one panel for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from todre.geometry import TokenBox
from todre.plots import require_matplotlib
from todre.plots.marks import (
    Panel,
    draw_legend,
    draw_marks,
    draw_title,
    legend_height,
    lit,
    save_figure,
    title_height,
    title_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LABELS", "MAX_SIDE", "Panel", "Row", "kept_tokens_figure", "save_figure"]

LABELS = {
    "grid": "kept token",
    "crop": "kept crop token",
    "thumbnail": "kept thumbnail token (looks at the whole picture coarsely)",
    "newline": "kept newline token (ends a row of crops)",
}
MAX_SIDE = 1200
"""Most pixels of the longer side of a faded picture."""
_COLUMN, _ALONE = 2.7, 4.2
"""Width in inches of a panel among several, and of a figure's only panel."""
_GAP = 0.15
"""Inches between two panels."""


@dataclass(frozen=True)
class Row:
    """One picture, the rectangles of its visual tokens, and a panel for each method.

    Attributes:
        image: the picture.
        boxes: rectangles of its visual tokens.
        panels: one for each method; `Panel.kept` counts from 0 within `boxes`.
        caption: the question, which stands in every panel.
    """

    image: Image.Image
    boxes: Sequence[TokenBox]
    panels: Sequence[Panel]
    caption: str = ""


def kept_tokens_figure(rows: Sequence[Row]) -> Figure:
    """Figure of each row's picture, one panel a method, bright at kept tokens.

    Crop and grid tokens show the picture at full strength in a blue frame, thumbnail tokens at half strength in an
    orange frame, newline tokens are ticks at the right margin. A panel that keeps everything shows the bare picture,
    and a panel of a method that resized the picture the smaller one. The row's question stands in every panel, under
    the method's name.

    Args:
        rows: at least one; `Panel.kept` counts within that row's `boxes`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    columns = max(len(row.panels) for row in rows)
    across = _ALONE if columns == 1 else _COLUMN
    titles = [[title_lines(panel, row.caption, across - _GAP) for panel in row.panels] for row in rows]
    above = [max(map(title_height, of_row)) for of_row in titles]
    heights = [_height(row, across - _GAP) for row in rows]
    kinds = {kind for row in rows for panel in row.panels for kind in _kinds(row, panel)}
    below = legend_height(LABELS, kinds, across * columns)
    whole = across * columns, sum(above) + sum(heights) + _GAP * len(rows) + below
    figure = Figure(figsize=whole, dpi=150)
    top = whole[1] + _GAP
    for row, of_row, title, height in zip(rows, titles, above, heights, strict=True):
        top -= _GAP + title + height
        for column, (panel, lines) in enumerate(zip(row.panels, of_row, strict=True)):
            left = column * across + _GAP / 2
            axes = figure.add_axes(
                (left / whole[0], top / whole[1], (across - _GAP) / whole[0], height / whole[1]), anchor="NW"
            )
            _draw(axes, row, panel)
            draw_title(axes, lines)
    draw_legend(figure, LABELS, kinds)
    return figure


def _margin(row: Row) -> float:
    """Ratio of a panel's width to its picture's; newline ticks need room."""
    return 1.05 if any(box.kind == "newline" for box in row.boxes) else 1.0


def _height(row: Row, width: float) -> float:
    """Height in inches of a row's pictures where a panel is `width` inches wide."""
    return min(max(width * row.image.height / (row.image.width * _margin(row)), 0.4 * width), 1.8 * width)


def _kinds(row: Row, panel: Panel) -> set[str]:
    """The kinds of kept token that a panel marks; none if it keeps everything."""
    if panel.shown is not None or len(panel.kept) == len(row.boxes):
        return set()
    return {str(row.boxes[index].kind) for index in panel.kept} & set(LABELS)


def _draw(axes: Axes, row: Row, panel: Panel) -> None:
    """Draw one panel without its title."""
    everything = panel.shown is not None or len(panel.kept) == len(row.boxes)
    kept = [] if everything else [row.boxes[index] for index in panel.kept]
    axes.set_axis_off()
    axes.imshow(
        panel.shown or row.image if everything else lit(row.image, kept, MAX_SIDE),
        extent=(0, row.image.width, row.image.height, 0),
        interpolation="antialiased",
    )
    axes.set_xlim(0, row.image.width * _margin(row))
    draw_marks(axes, kept, row.image.size)
