"""Frames of animations: kept tokens over the picture, beside a growing chart."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from todre.geometry import TokenBox
from todre.plots import require_matplotlib
from todre.plots.animation_charts import draw_chart
from todre.plots.animation_frames import Animation, BudgetFrame, Frame, LayerFrame, OrderFrame
from todre.plots.lines import PINK, RED
from todre.plots.marks import LETTER, NAME_SIZE, TEXT_SIZE, draw_legend, draw_marks, legend_height, lit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_ACROSS, _MARGIN, _CHART = 6.4, 0.12, 2.1
"""Inches across a frame, around what is in it, and across the chart."""
_LINE = 0.19
"""Inches of a line of text."""
_LABELS = {"grid": "token", "crop": "crop token", "thumbnail": "thumbnail token", "newline": "newline token"}


@dataclass(frozen=True)
class _Stage:
    """What is drawn anew in each frame.

    Attributes:
        picture, chart: axes.
        counts, answer: the lines of text under the picture.
    """

    picture: Axes
    chart: Axes
    counts: Text
    answer: Text


def animation_images(animation: Animation, width: int) -> Iterator[Image.Image]:
    """Draw the frames one by one, as RGB pictures of one size.

    Kept tokens are marked as in `kept_tokens_figure`; the newest have a pink frame. A frame that keeps everything shows
    the bare picture.

    Args:
        animation: what to draw.
        width: of each picture in pixels; its height follows from the picture, and is even.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, stage = _stage(animation, width)
    canvas = FigureCanvasAgg(figure)
    small = _scaled(animation, 2 * width)
    for number, frame in enumerate(animation.frames):
        _draw_picture(stage.picture, small, frame)
        draw_chart(stage.chart, animation.frames[: number + 1], animation.frames, len(animation.boxes))
        stage.counts.set_text(_counts(animation, frame))
        _write_answer(stage.answer, animation, frame)
        canvas.draw()
        yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _stage(animation: Animation, width: int) -> tuple[Figure, _Stage]:
    """An empty figure, with the method's name, the question and the legend in it."""
    from matplotlib.figure import Figure

    asked = _wrapped(animation.question, 2)
    kinds = {str(box.kind) for box in animation.boxes} & set(_LABELS)
    legend = legend_height(_LABELS, kinds, _ACROSS)
    across = _ACROSS - _CHART - 0.85 - 2 * _MARGIN
    down = min(max(across * animation.picture.height / animation.picture.width, 1.9), 1.2 * across)
    above, below = _MARGIN + _LINE * (1.3 + len(asked)), 2.4 * _LINE + legend
    dpi = width / _ACROSS
    height = 2 * round((above + down + below) * dpi / 2)
    tall = height / dpi
    figure = Figure(figsize=((width + 0.01) / dpi, (height + 0.01) / dpi), dpi=dpi)
    bottom = (tall - above - down) / tall
    picture = figure.add_axes((_MARGIN / _ACROSS, bottom, across / _ACROSS, down / tall), anchor="NW")
    left = _ACROSS - _CHART - _MARGIN
    low = bottom + 0.42 / tall
    chart = figure.add_axes((left / _ACROSS, low, _CHART / _ACROSS, (down - 0.42 - 0.22) / tall))

    def write(text: str, from_top: float, **style: Any) -> Text:
        return figure.text(_MARGIN / _ACROSS, 1 - from_top / tall, text, va="top", parse_math=False, **style)

    write(_wrapped(animation.method, 1)[0], _MARGIN, fontsize=NAME_SIZE, fontweight="bold")
    write("\n".join(asked), _MARGIN + 1.2 * _LINE, fontsize=TEXT_SIZE)
    under = above + down + 0.04
    counts = write("", under, fontsize=TEXT_SIZE)
    answer = write("", under + _LINE, fontsize=TEXT_SIZE)
    draw_legend(figure, _LABELS, kinds)
    return figure, _Stage(picture=picture, chart=chart, counts=counts, answer=answer)


def _scaled(animation: Animation, longest: int) -> Animation:
    """The animation with a picture of at most `longest` pixels a side."""
    picture = animation.picture.copy()
    picture.thumbnail((longest, longest))
    x, y = picture.width / animation.picture.width, picture.height / animation.picture.height
    boxes = [
        dataclasses.replace(box, left=box.left * x, right=box.right * x, top=box.top * y, bottom=box.bottom * y)
        for box in animation.boxes
    ]
    return dataclasses.replace(animation, picture=picture, boxes=boxes)


def _draw_picture(axes: Axes, animation: Animation, frame: Frame) -> None:
    """Draw the picture with the tokens of one frame over it."""
    everything = len(frame.kept) == len(animation.boxes)
    kept = [animation.boxes[place] for place in frame.kept]
    image = animation.picture
    axes.clear()
    axes.set_axis_off()
    shown = image if everything else lit(image, kept, max(image.size))
    axes.imshow(np.asarray(shown), extent=(0, image.width, image.height, 0), interpolation="antialiased")
    margin = 1.05 if any(box.kind == "newline" for box in animation.boxes) else 1.0
    axes.set_xlim(0, image.width * margin)
    if everything:
        return
    draw_marks(axes, kept, image.size)
    if isinstance(frame, OrderFrame):
        _draw_newest(axes, kept[len(kept) - frame.fresh :], image)


def _draw_newest(axes: Axes, boxes: Sequence[TokenBox], image: Image.Image) -> None:
    """Frame the tokens that were chosen last; a newline token gets a long tick."""
    from matplotlib.patches import Rectangle

    for box in boxes:
        if box.area > 0:
            corner, size = (box.left, box.top), (box.right - box.left, box.bottom - box.top)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=PINK, linewidth=2.0, zorder=3, clip_on=False))
        else:
            middle = (box.top + box.bottom) / 2
            axes.hlines([middle], image.width * 1.0, image.width * 1.05, colors=PINK, linewidth=2.0)


def _counts(animation: Animation, frame: Frame) -> str:
    """The line that says how many tokens there are in a frame."""
    total = len(animation.boxes)
    if isinstance(frame, OrderFrame):
        return f"token {len(frame.kept)} of {len(animation.frames[-1].kept)} (of {total}), radius {frame.radius:.3f}"
    if isinstance(frame, LayerFrame):
        where = f"layer {frame.layer} of {len(animation.frames) - 1}" if frame.layer else "before pruning"
        return f"{where}: {frame.tokens} of {total} visual tokens"
    return f"budget {frame.budget}: {len(frame.kept)} of {total} visual tokens"


def _write_answer(text: Text, animation: Animation, frame: Frame) -> None:
    """Write the answer; one that has just changed is red."""
    if not isinstance(frame, BudgetFrame):
        text.set_text(_wrapped(f"“{animation.answer}”", 1)[0])
        return
    text.set_text(_wrapped(f"“{frame.answer}”" + (" (changed)" if frame.changed else ""), 1)[0])
    text.set_color(RED if frame.changed else "black")
    text.set_fontweight("bold" if frame.changed else "normal")


def _wrapped(text: str, most: int) -> list[str]:
    """The text in at most `most` lines of a frame's width."""
    letters = int((_ACROSS - 2 * _MARGIN) / LETTER)
    return textwrap.wrap(text, letters, max_lines=most, placeholder=" …") or [""]
