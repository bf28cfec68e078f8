"""Marks of kept tokens: colours, fade of dropped areas, frames, titles, legend."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from todre.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from todre.geometry import TokenBox

# Okabe and Ito's colours, told apart with any kind of colour vision.
COLOURS = {"grid": "#0072B2", "crop": "#0072B2", "thumbnail": "#D55E00", "newline": "#009E73"}
LIGHT = {"dropped": 0.22, "thumbnail": 0.6, "grid": 1.0, "crop": 1.0}
FRAMES = (("thumbnail", 0.9), ("grid", 0.6), ("crop", 0.6))
"""Kinds of token with a frame, in drawing order, and the width in points."""
NAME_SIZE, TEXT_SIZE = 11.5, 9.5
"""Font sizes in points of a panel's name, and of all other text."""
LEGEND_MARK, LETTER = 0.6, 0.0735
"""Inches across a legend entry's mark, and across an average letter."""
_LEADING = 1.2
"""Line height over font size."""
_PAD = 4
"""Points between a panel and the text above it."""
_MOST_LINES = 3
"""Most printed lines of a question; other texts take at most two."""


@dataclass(frozen=True)
class Panel:
    """A panel of a figure: what one method kept of one picture or clip.

    Attributes:
        title: the method's name.
        lines: text under the title and the question: counts, then the answer.
        kept: indices into the boxes of the picture or clip.
        shown: the smaller picture that the method showed in place of the whole one, if it did.
    """

    title: str
    lines: tuple[str, ...]
    kept: Sequence[int]
    shown: Image.Image | None = None


def lit(image: Image.Image, kept: Sequence[TokenBox], longest: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture, faded to white where no kept token looked.

    Args:
        image: the picture; shown with at most `longest` pixels a side.
        kept: boxes in pixels of `image`; boxes of newline and class tokens light nothing.

    Returns:
        (height, width, 3) uint8.
    """
    small = image.copy()
    small.thumbnail((longest, longest))
    pixels = np.asarray(small, dtype=np.float32)
    strength = np.full(pixels.shape[:2], LIGHT["dropped"], dtype=np.float32)
    across, down = small.width / image.width, small.height / image.height
    for box in sorted(kept, key=lambda box: LIGHT.get(box.kind, 0.0)):
        if box.kind in LIGHT and box.area > 0:
            rows = slice(round(box.top * down), max(round(box.bottom * down), round(box.top * down) + 1))
            columns = slice(round(box.left * across), max(round(box.right * across), round(box.left * across) + 1))
            strength[rows, columns] = LIGHT[box.kind]
    faded = 255 - (255 - pixels) * strength[..., None]
    return faded.round().astype(np.uint8)


def draw_marks(
    axes: Axes, kept: Sequence[TokenBox], size: tuple[int, int], origin: tuple[float, float] = (0, 0)
) -> None:
    """Frame the kept tokens of a picture, and tick its newline tokens at the right.

    Args:
        axes: axes in pixels of the picture, y downwards.
        kept: the tokens' boxes.
        size: (width, height) of the picture.
        origin: where its upper left corner lies.
    """
    from matplotlib.collections import PolyCollection

    x, y = origin
    for kind, linewidth in FRAMES:
        corners = [
            [(x + b.left, y + b.top), (x + b.right, y + b.top), (x + b.right, y + b.bottom), (x + b.left, y + b.bottom)]
            for b in kept
            if b.kind == kind and b.area > 0
        ]
        frames = PolyCollection(corners, facecolors="none", edgecolors=COLOURS[kind], linewidths=linewidth)
        axes.add_collection(frames)
    middles = [y + (box.top + box.bottom) / 2 for box in kept if box.kind == "newline"]
    if middles:
        right = size[0]
        axes.hlines(middles, x + right * 1.01, x + right * 1.04, colors=COLOURS["newline"], linewidth=1.2)


def draw_title(axes: Axes, lines: Sequence[str]) -> None:
    """Write `lines`, as `title_lines` wraps them, above the axes; the first is bold.

    Args:
        axes: the panel's axes.
        lines: the name, then at least one line of text.
    """
    name, *rest = lines
    below = _LEADING * TEXT_SIZE * len(rest) + _PAD
    axes.set_title(name, fontsize=NAME_SIZE, fontweight="bold", loc="left", pad=below + 3, parse_math=False)
    axes.annotate(
        "\n".join(rest), (0, 1), xytext=(0, _PAD), xycoords="axes fraction", textcoords="offset points",
        fontsize=TEXT_SIZE, linespacing=_LEADING, va="bottom", parse_math=False,
    )  # fmt: skip


def title_lines(panel: Panel, question: str, width: float) -> list[str]:
    """The panel's name, the question, and the panel's lines, each wrapped to `width`.

    Args:
        panel: the panel; each of its texts takes at most two lines.
        question: the question, in at most three lines; left out if empty.
        width: width in inches.
    """
    letters = max(int(width / LETTER), 12)
    wrapped = [panel.title, *textwrap.wrap(question, letters, max_lines=_MOST_LINES, placeholder=" …")]
    for line in panel.lines:
        wrapped += textwrap.wrap(line, letters, max_lines=2, placeholder=" …") or [""]
    return wrapped


def title_height(lines: Sequence[str]) -> float:
    """Inches that `draw_title` needs above the axes."""
    return (_LEADING * (TEXT_SIZE * (len(lines) - 1) + NAME_SIZE) + _PAD + 3) / 72


def draw_legend(figure: Figure, labels: Mapping[str, str], kinds: Collection[str]) -> None:
    """Draw a legend under the figure that explains the `kinds` of token in it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    shown = {kind: label for kind, label in labels.items() if kind in kinds}
    for kind, label in shown.items():
        if kind == "newline":
            handles.append(Line2D([], [], color=COLOURS[kind], linewidth=1.5, label=label))
        else:
            handles.append(Patch(facecolor="none", edgecolor=COLOURS[kind], label=label))
    if handles:
        columns, size = legend_shape(list(shown.values()), figure.get_figwidth())
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=size, frameon=False)


def legend_height(labels: Mapping[str, str], kinds: Collection[str], width: float) -> float:
    """Inches that `draw_legend` needs under a figure `width` inches wide."""
    shown = [label for kind, label in labels.items() if kind in kinds]
    if not shown:
        return 0.0
    columns, size = legend_shape(shown, width)
    return 0.2 + len(shown) / columns * 1.6 * size / 72


def legend_shape(labels: Sequence[str], width: float) -> tuple[int, float]:
    """Columns and font size of a legend: one row if it fits, else one column.

    Args:
        labels: the legend's entries.
        width: width of the figure, in inches; a label that is too long for it makes the font smaller.
    """
    widths = [LEGEND_MARK + LETTER * len(label) for label in labels]
    if sum(widths) <= width:
        return len(labels), TEXT_SIZE
    return 1, TEXT_SIZE * min(1.0, width / max(widths))


def save_figure(figure: Figure, path: str | Path, comment: str | None = None) -> None:
    """Write a figure to a file, whole or not at all, the same bytes each time.

    Args:
        figure: the figure.
        path: the file; its suffix names the format.
        comment: a line of text that is stored inside a PNG.
    """
    import matplotlib as mpl

    path = Path(path)
    metadata: dict[str, Any] = {
        ".png": {"Software": None} | ({"Comment": comment} if comment else {}),
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
    }
    with atomic_path(path) as temporary, mpl.rc_context({"svg.hashsalt": "todre"}):
        figure.savefig(temporary, metadata=metadata.get(path.suffix.lower()))
