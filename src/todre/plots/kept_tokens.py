"""The picture with the kept visual tokens over it, one panel for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from todre.geometry import TokenBox
from todre.plots import require_matplotlib
from todre.plots.marks import Panel, draw_legend, draw_marks, draw_title, lit, save_figure, title_lines

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


@dataclass(frozen=True)
class Row:
    """One picture, the rectangles of its visual tokens, and a panel for each method."""

    image: Image.Image
    boxes: Sequence[TokenBox]
    panels: Sequence[Panel]
    caption: str = ""


def kept_tokens_figure(rows: Sequence[Row]) -> Figure:
    """Draw each row's picture once for each of its panels, bright where a kept token looked and pale elsewhere.

    Crop and grid tokens show the picture at full strength in a blue frame, thumbnail tokens at half strength in an
    orange frame, newline tokens are ticks at the right margin. A panel that keeps everything shows the bare picture.

    Args:
        rows: at least one; `Panel.kept` counts within that row's `boxes`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    columns = max(len(row.panels) for row in rows)
    heights = [3.0 * min(max(row.image.height / row.image.width, 0.4), 1.8) for row in rows]
    extra = [0.25 * max(len(title_lines(panel)) for panel in row.panels) + 0.3 for row in rows]
    figure = Figure(figsize=(max(3.1 * columns, 4.2), sum(heights) + sum(extra) + 0.6), layout="constrained", dpi=150)
    grid = figure.subplots(
        len(rows), columns, squeeze=False, height_ratios=[h + e for h, e in zip(heights, extra, strict=True)]
    )
    drawn: set[str] = set()
    for axes_row, row in zip(grid, rows, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, panel in zip(axes_row, row.panels, strict=False):
            drawn |= _draw(axes, row, panel)
        axes_row[0].text(0, -0.03, row.caption, transform=axes_row[0].transAxes, va="top", fontsize=8, parse_math=False)
    draw_legend(figure, LABELS, drawn)
    return figure


def _draw(axes: Axes, row: Row, panel: Panel) -> set[str]:
    """Draw one panel; returns the kinds of token that it shows."""
    everything = len(panel.kept) == len(row.boxes)
    kept = [] if everything else [row.boxes[index] for index in panel.kept]
    axes.imshow(
        row.image if everything else lit(row.image, kept, MAX_SIDE),
        extent=(0, row.image.width, row.image.height, 0),
        interpolation="antialiased",
    )
    margin = 1.05 if any(box.kind == "newline" for box in row.boxes) else 1.0
    axes.set_xlim(0, row.image.width * margin)
    draw_title(axes, panel)
    draw_marks(axes, kept, row.image.size)
    return {str(box.kind) for box in kept} & set(LABELS)
