"""Panels, colours, and lines with bands of intervals, shared by the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from todre.plots import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any kind of colour vision.
ORANGE, BLUE, GREEN, PINK, SKY, YELLOW, RED, GREY = (
    "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#D55E00", "#666666",
)  # fmt: skip
WIDTH = 10.8
"""Inches across a figure of several panels; 10 points are 12 of its 900 pixels."""
COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY, YELLOW, "#7F3C8D", "#A5AA99")


def panels(columns: int, title: str, height: float = 4.0) -> tuple[Figure, Sequence[Axes]]:
    """Figure with `columns` panels side by side under a title.

    Args:
        columns: number of panels.
        title: the figure's title.
        height: height of the figure, in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(5.4 * columns, WIDTH), height), layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def share_axis(panel: Axes, shares: Sequence[float], margin: float) -> None:
    """Set a log x axis of shares kept, from many tokens down to few.

    Args:
        panel: the axes.
        shares: shares of visual tokens in percent, ascending; each gets a tick.
        margin: factor by which the axis goes beyond the first and the last share.
    """
    panel.set_xscale("log")
    panel.set_xticks(shares, [f"{share:.3g}" for share in shares])
    panel.minorticks_off()
    panel.set_xlim(shares[-1] * margin, shares[0] / margin)
    panel.grid(axis="y", color="#EEEEEE", zorder=0)
    panel.set_axisbelow(True)


def line(
    panel: Axes, places: Sequence[float], points: Sequence[dict[str, Any]], colour: str, label: str, key: str = "mean",
    scale: float = 1.0, style: str = "o-",
) -> None:  # fmt: skip
    """Draw a line through `points[key]`, with a band where all have an interval.

    Args:
        panel: the axes.
        places: x of each point.
        points: dicts with `key`, `low` and `high`; a point whose `key` is None is left out.
        colour: colour of the line and the band.
        label: label of the line.
        key: key of the value in each point.
        scale: values are multiplied by it.
        style: marker and line, as matplotlib writes them.
    """
    known = [(place, point) for place, point in zip(places, points, strict=True) if point[key] is not None]
    if not known:
        return
    x = [place for place, _ in known]
    panel.plot(x, [scale * point[key] for _, point in known], style, color=colour, label=label, markersize=4)
    if all(point["low"] is not None and point["high"] is not None for _, point in known):
        low, high = ([scale * point[edge] for _, point in known] for edge in ("low", "high"))
        panel.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def legend_below(panel: Axes, columns: int = 1, size: float = 9.0) -> None:
    """Put a panel's legend under its axis label, where it covers no data."""
    panel.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, fontsize=size, frameon=False,
        columnspacing=1.2, handlelength=1.8, borderaxespad=0.0,
    )  # fmt: skip
