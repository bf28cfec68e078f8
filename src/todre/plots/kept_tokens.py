"""The picture with the kept visual tokens over it, one panel for each method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from todre.files import atomic_path
from todre.geometry import TokenBox
from todre.plots import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any kind of colour vision.
COLOURS = {"grid": "#0072B2", "crop": "#0072B2", "thumbnail": "#D55E00", "newline": "#009E73"}
LABELS = {
    "grid": "kept token",
    "crop": "kept crop token",
    "thumbnail": "kept thumbnail token (looks at the whole picture coarsely)",
    "newline": "kept newline token (ends a row of crops)",
}
LIGHT = {"dropped": 0.22, "thumbnail": 0.6, "grid": 1.0, "crop": 1.0}
MAX_SIDE = 1200


@dataclass(frozen=True)
class Panel:
    """What one method did with one picture.

    Attributes:
        title: the method's name.
        lines: what stands under it: counts, then the answer.
        kept: indices into the row's boxes.
    """

    title: str
    lines: tuple[str, ...]
    kept: Sequence[int]


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
    extra = [0.25 * max(len(_title_lines(panel)) for panel in row.panels) + 0.3 for row in rows]
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
    _legend(figure, drawn)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure whole or not at all; the same figure gives the same bytes."""
    path = Path(path)
    metadata: dict[str, Any] = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=metadata.get(path.suffix.lower()))


def _draw(axes: Axes, row: Row, panel: Panel) -> set[str]:
    """Draw one panel; returns the kinds of token that it shows."""
    everything = len(panel.kept) == len(row.boxes)
    kept = [] if everything else [row.boxes[index] for index in panel.kept]
    axes.imshow(
        row.image if everything else _lit(row.image, kept),
        extent=(0, row.image.width, row.image.height, 0),
        interpolation="antialiased",
    )
    margin = 1.05 if any(box.kind == "newline" for box in row.boxes) else 1.0
    axes.set_xlim(0, row.image.width * margin)
    name, *lines = _title_lines(panel)
    axes.set_title("\n".join(lines), fontsize=8, loc="left", parse_math=False)
    axes.annotate(
        name, (0, 1), xytext=(0, 6 + 12 * len(lines)), xycoords="axes fraction", textcoords="offset points",
        fontsize=10, fontweight="bold", parse_math=False,
    )  # fmt: skip
    for kind, linewidth in (("thumbnail", 0.9), ("grid", 0.6), ("crop", 0.6)):
        _frames(axes, [box for box in kept if box.kind == kind and box.area > 0], COLOURS[kind], linewidth)
    ticks = [box for box in kept if box.kind == "newline"]
    if ticks:
        middles = [(box.top + box.bottom) / 2 for box in ticks]
        right = row.image.width
        axes.hlines(middles, right * 1.01, right * 1.04, colors=COLOURS["newline"], linewidth=1.2)
    return {str(box.kind) for box in kept} & set(LABELS)


def _lit(image: Image.Image, kept: Sequence[TokenBox]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(height, width, 3) uint8: the picture faded to white, as far as no kept token looked there."""
    small = image.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    pixels = np.asarray(small, dtype=np.float32)
    strength = np.full(pixels.shape[:2], LIGHT["dropped"], dtype=np.float32)
    across, down = small.width / image.width, small.height / image.height
    for box in sorted(kept, key=lambda box: LIGHT.get(box.kind, 0.0)):
        if box.kind in LIGHT and box.area > 0:
            rows = slice(round(box.top * down), max(round(box.bottom * down), round(box.top * down) + 1))
            columns = slice(round(box.left * across), max(round(box.right * across), round(box.left * across) + 1))
            strength[rows, columns] = LIGHT[box.kind]
    lit = 255 - (255 - pixels) * strength[..., None]
    return lit.round().astype(np.uint8)


def _frames(axes: Axes, boxes: Sequence[TokenBox], colour: str, linewidth: float) -> None:
    from matplotlib.collections import PolyCollection

    corners = [[(b.left, b.top), (b.right, b.top), (b.right, b.bottom), (b.left, b.bottom)] for b in boxes]
    axes.add_collection(PolyCollection(corners, facecolors="none", edgecolors=colour, linewidths=linewidth))


def _legend(figure: Figure, kinds: set[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for kind in LABELS:
        if kind not in kinds:
            continue
        if kind == "newline":
            handles.append(Line2D([], [], color=COLOURS[kind], linewidth=1.5, label=LABELS[kind]))
        else:
            handles.append(Patch(facecolor="none", edgecolor=COLOURS[kind], label=LABELS[kind]))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _title_lines(panel: Panel) -> list[str]:
    """The title and its lines, wrapped; at most two lines each."""
    wrapped = [panel.title]
    for line in panel.lines:
        wrapped += textwrap.wrap(line, 42, max_lines=2, placeholder=" …") or [""]
    return wrapped
