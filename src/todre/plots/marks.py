"""What all pictures of kept tokens share: colours, the fade of what was dropped, frames, titles and the legend."""

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
"""Kinds that get a frame, in drawing order, and its width in points."""
LEGEND_MARK, LEGEND_SIGN = 0.55, 0.062
"""Inches that the mark of a legend's entry takes, and at most a letter of its text."""


@dataclass(frozen=True)
class Panel:
    """What one method did with one picture or clip.

    Attributes:
        title: the method's name.
        lines: what stands under it: counts, then the answer.
        kept: indices into the boxes of the picture or clip.
    """

    title: str
    lines: tuple[str, ...]
    kept: Sequence[int]


def lit(image: Image.Image, kept: Sequence[TokenBox], longest: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture faded to white, as far as no kept token looked there.

    Args:
        image: the picture; shown with at most `longest` pixels a side.
        kept: boxes in pixels of `image`; those of newline and class tokens light nothing.

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
    """Frame the kept tokens of a picture, and tick its kept newline tokens at its right margin.

    Args:
        axes: in pixels of the picture, y downwards.
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


def draw_title(axes: Axes, panel: Panel, width: int = 42) -> None:
    """The panel's title in bold over its lines."""
    name, *lines = title_lines(panel, width)
    axes.set_title("\n".join(lines), fontsize=8, loc="left", parse_math=False)
    axes.annotate(
        name, (0, 1), xytext=(0, 6 + 12 * len(lines)), xycoords="axes fraction", textcoords="offset points",
        fontsize=10, fontweight="bold", parse_math=False,
    )  # fmt: skip


def title_lines(panel: Panel, width: int = 42) -> list[str]:
    """The title and its lines, wrapped at `width` characters; at most two lines each."""
    wrapped = [panel.title]
    for line in panel.lines:
        wrapped += textwrap.wrap(line, width, max_lines=2, placeholder=" …") or [""]
    return wrapped


def draw_legend(figure: Figure, labels: Mapping[str, str], kinds: Collection[str]) -> None:
    """Explain those `kinds` of token that are drawn, under the figure."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for kind, label in labels.items():
        if kind not in kinds:
            continue
        if kind == "newline":
            handles.append(Line2D([], [], color=COLOURS[kind], linewidth=1.5, label=label))
        else:
            handles.append(Patch(facecolor="none", edgecolor=COLOURS[kind], label=label))
    if handles:
        row = sum(LEGEND_MARK + LEGEND_SIGN * len(handle.get_label()) for handle in handles)
        columns = len(handles) if row <= figure.get_figwidth() else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def save_figure(figure: Figure, path: str | Path, comment: str | None = None) -> None:
    """Write a figure whole or not at all; the same figure gives the same bytes.

    Args:
        figure: what to write.
        path: its suffix says how.
        comment: a line kept inside a PNG.
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
