"""Charts beside the picture of an animation; each grows from frame to frame."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from todre.plots.animation_frames import BudgetFrame, Frame, LayerFrame, OrderFrame
from todre.plots.lines import BLUE, PINK, RED, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Kind = TypeVar("_Kind", OrderFrame, BudgetFrame, LayerFrame)
_SMALL = 8
"""Font size in points of the charts."""
_LETTERS = 12
"""Most letters of an answer beside a chart."""


def draw_chart(axes: Axes, shown: Sequence[Frame], frames: Sequence[Frame], tokens: int) -> None:
    """Draw what has been shown so far; the axes have room for all frames.

    Args:
        axes: cleared first.
        shown: the frames up to the present one.
        frames: all frames.
        tokens: visual tokens of the picture.
    """
    axes.clear()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_SMALL)
    if isinstance(frames[0], OrderFrame):
        _radius(axes, _of(shown, OrderFrame), _of(frames, OrderFrame))
    elif isinstance(frames[0], LayerFrame):
        _layers(axes, _of(shown, LayerFrame), _of(frames, LayerFrame), tokens)
    else:
        _answers(axes, _of(shown, BudgetFrame), _of(frames, BudgetFrame), tokens)


def _radius(axes: Axes, shown: Sequence[OrderFrame], frames: Sequence[OrderFrame]) -> None:
    """The coverage radius over the number of chosen tokens."""
    counts, radii = [len(frame.kept) for frame in shown], [frame.radius for frame in shown]
    axes.plot(counts, radii, color=BLUE, linewidth=1.6)
    axes.plot(counts[-1:], radii[-1:], "o", color=PINK, markersize=5)
    axes.set_xlim(0, len(frames[-1].kept) * 1.04)
    axes.set_ylim(0, max(*(frame.radius for frame in frames), 0.01) * 1.08)
    axes.set_title("coverage radius (1 - cosine)", fontsize=_SMALL + 1, loc="left")
    axes.set_xlabel("tokens chosen", fontsize=_SMALL)


def _layers(axes: Axes, shown: Sequence[LayerFrame], frames: Sequence[LayerFrame], tokens: int) -> None:
    """A bar for each layer: the visual tokens that it ran on."""
    heights = [frame.tokens for frame in shown]
    axes.bar(range(len(shown)), heights, color=[SKY] * (len(shown) - 1) + [BLUE], width=0.85)
    axes.set_xlim(-0.6, len(frames) - 0.4)
    axes.set_ylim(0, tokens * 1.05)
    step = max(1, (len(frames) - 1) // 8)
    ticks = [0, *range(step, len(frames), step)]
    axes.set_xticks(ticks, ["all", *map(str, ticks[1:])])
    axes.set_title("visual tokens", fontsize=_SMALL + 1, loc="left")
    axes.set_xlabel("decoder layer", fontsize=_SMALL)


def _answers(axes: Axes, shown: Sequence[BudgetFrame], frames: Sequence[BudgetFrame], tokens: int) -> None:
    """Which answer was given with how many tokens; changes are red lines."""
    rows = {answer: row for row, answer in enumerate(dict.fromkeys(frame.answer for frame in frames))}
    shares = [100 * len(frame.kept) / tokens for frame in shown]
    heights = [rows[frame.answer] for frame in shown]
    for share, frame in zip(shares, shown, strict=True):
        if frame.changed:
            axes.axvline(share, color=RED, linewidth=0.8, linestyle="--")
    axes.plot(shares, heights, "o", color=BLUE, markersize=4)
    axes.plot(shares[-1:], heights[-1:], "o", color=RED if shown[-1].changed else BLUE, markersize=7)
    every = [100 * len(frame.kept) / tokens for frame in frames]
    most, least = max(every) * 1.2, min(every) / 1.2
    axes.set_xscale("log")
    axes.set_xlim(most, least)
    ticks = [share for share in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if least <= share <= most]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    reached = list(dict.fromkeys(frame.answer for frame in shown))
    axes.set_yticks(range(len(reached)), [_short(answer) for answer in reached], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title("answer", fontsize=_SMALL + 1, loc="left")
    axes.set_xlabel("visual tokens kept, %", fontsize=_SMALL)


def _short(answer: str) -> str:
    return textwrap.shorten(f"“{answer}”", _LETTERS, placeholder="…”")


def _of(frames: Sequence[Frame], kind: type[_Kind]) -> list[_Kind]:
    return [frame for frame in frames if isinstance(frame, kind)]
