"""The figure of accuracy against cost, with its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from todre.plots.across_budgets import about, axis_of, heading, styles_of
from todre.plots.label_places import PALE, label_points
from todre.plots.lines import panels
from todre.reading.choice import highlighted
from todre.reading.costs import Cost, front
from todre.reading.results import Entry, Results
from todre.reading.tables import budget_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Point:
    """Cost and gain of an entry, with the interval of the gain, in percent."""

    entry: Entry
    cost: float
    gain: float
    low: float
    high: float


def pareto_figure(results: Results, cost: Cost, highlight: Sequence[str] = (), measure: str = "retention") -> Figure:
    """Figure of a measure against a cost: every method at every budget, and the front.

    Args:
        results: results of one or several runs.
        cost: the costs of these entries; entries without a cost are left out.
        highlight: methods in colour, their budgets joined by a line; the others are grey.
        measure: `retention`, `score` or `difference`.

    Raises:
        InvalidValueError: there is no such method.
    """
    points = _points(results, cost, measure)
    there = {point.entry.name for point in points}
    names = [name for name in highlighted(results, highlight) if name in there]
    figure, (panel,) = panels(1, "", 5.6)
    figure.set_size_inches(8.4, 5.8)
    looks = styles_of(names)
    grey = [point for point in points if point.entry.name not in looks]
    panel.plot([p.cost for p in grey], [p.gain for p in grey], "o", color=PALE, markersize=3, zorder=1)
    for name, look in looks.items():
        mine = sorted((p for p in points if p.entry.name == name), key=lambda point: point.cost)
        drawn = {**look, "linestyle": "-" if len(mine) > 1 else "none"}
        panel.plot(
            [p.cost for p in mine], [p.gain for p in mine], linewidth=0.8, markersize=5, label=name, zorder=3, **drawn
        )
    none = {"retention": 100.0, "difference": 0.0}.get(measure, 100 * (results.none[0].value("score").value or 0.0))
    panel.plot([100.0], [none], "k*", markersize=9, zorder=4)
    best = front([*((p.cost, p.gain) for p in points), (100.0, none)])
    kept = [points[place] for place in best if place < len(points)]
    _front(panel, kept, none)
    panel.set_xscale("log")
    panel.margins(y=0.09)
    _ticks(panel, [point.cost for point in points])
    panel.set(xlabel=cost.axis, ylabel=axis_of(measure))
    panel.grid(color="#EEEEEE", zorder=0)
    panel.set_axisbelow(True)
    note = "black: what no method beats at less cost, with 95 % intervals" + ("; grey: other methods" if grey else "")
    heading(panel, f"{measure.capitalize()} against cost", f"{about(results)}\n{note}")
    figure.legend(
        loc="outside right center", frameon=False, fontsize=9, title="methods, budgets joined", title_fontsize=8.5
    )
    labels = [(p.cost, p.gain, _label(p.entry), looks.get(p.entry.name, {}).get("color", "#444444")) for p in kept]
    label_points(figure, panel, [(100.0, none, "no pruning", "black"), *labels])
    return figure


def _points(results: Results, cost: Cost, measure: str) -> list[_Point]:
    """Points of the entries that have a cost and a value."""
    found = []
    for entry in results.entries:
        inside = entry.value(measure)
        if entry.label in cost.of and inside.value is not None:
            low, high = (inside.value if edge is None else edge for edge in (inside.low, inside.high))
            found.append(_Point(entry, 100 * cost.of[entry.label], 100 * inside.value, 100 * low, 100 * high))
    return found


def _label(entry: Entry) -> str:
    return entry.name if entry.retain is None else f"{entry.name} {budget_text(entry.retain)}"


def _front(panel: Axes, kept: Sequence[_Point], none: float) -> None:
    """Draw steps over the front's points, with rings and bars of intervals."""
    costs, gains = [p.cost for p in kept], [p.gain for p in kept]
    ahead = not gains or none > max(gains)
    panel.plot(
        [*costs, *([100.0] if ahead else [])], [*gains, *([none] if ahead else [])], color="black", linewidth=1.1,
        drawstyle="steps-post", zorder=2,
    )  # fmt: skip
    panel.vlines(costs, [p.low for p in kept], [p.high for p in kept], color="black", linewidth=0.7, zorder=2)
    panel.plot(
        costs, gains, "o", markersize=9, markerfacecolor="none", markeredgecolor="black", markeredgewidth=0.9, zorder=4
    )


def _ticks(panel: Axes, costs: Sequence[float]) -> None:
    """Set ticks at round numbers within the range of costs."""
    low, high = min([*costs, 100.0]), max([*costs, 100.0])
    steps = [
        value
        for value in (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200)
        if low * 0.9 <= value <= high * 1.1
    ]
    panel.set_xlim(low / 1.15, high * 1.15)
    panel.set_xticks(steps, [f"{step:g}" for step in steps])
    panel.minorticks_off()
