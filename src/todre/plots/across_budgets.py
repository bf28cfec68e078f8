"""Figures of `todre plot` across budgets and tasks: retention curves and radar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from todre.errors import InvalidValueError
from todre.plots.label_places import PALE, label_ends, style
from todre.plots.lines import GREY, panels, share_axis
from todre.reading.choice import RANDOM, highlighted
from todre.reading.costs import exceeds
from todre.reading.results import ALL, Budget, Entry, Results, share_of
from todre.reading.tables import budget_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POLYGONS = 5
_FULL = 100.0


def short_tasks(tasks: Sequence[str]) -> list[str]:
    """Task names without their common prefix, which ends with a hyphen."""
    first = tasks[0].partition("-")[0] + "-" if tasks else ""
    alike = len(tasks) > 1 and all(task.startswith(first) and len(task) > len(first) for task in tasks)
    return [task.removeprefix(first) if alike else task for task in tasks]


def about(results: Results) -> str:
    """Text that names the model and the number of questions and pictures."""
    return f"{results.model}, {results.questions:,} questions about {results.pictures:,} pictures"


def styles_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each method; random choice is always dark and dotted."""
    found = {name: style(place) for place, name in enumerate(name for name in names if name != RANDOM)}
    if RANDOM in names:
        found[RANDOM] = {"color": "#333333", "marker": "o", "linestyle": ":"}
    return found


def retention_figure(results: Results, highlight: Sequence[str] = (), measure: str = "retention") -> Figure:
    """Figure of a measure against the share of visual tokens kept.

    Lines of methods that carry more visual tokens per layer than their budget are dashed.

    Args:
        results: methods without a budget are left out.
        highlight: methods in colour, with a band and a label; the others are grey lines.
        measure: `retention`, `score` or `difference`.

    Raises:
        InvalidValueError: there is no such method, or no method has a budget.
    """
    results.budget()
    names = [name for name in highlighted(results, highlight) if _curve(results, name, measure)]
    figure, (panel,) = panels(1, "", 5.2)
    figure.set_size_inches(8.4, 5.2)
    more = {entry.name for entry in results.entries if exceeds(entry)}
    others = [name for name in results.names if name not in names and _curve(results, name, measure)]
    for name in others:
        x, y, *_ = zip(*_curve(results, name, measure), strict=True)
        panel.plot(x, y, color=PALE, linewidth=0.8, linestyle="--" if name in more else "-", zorder=1)
    ends = []
    for name, look in styles_of(names).items():
        look |= {"linestyle": "--"} if name in more else {}
        x, y, low, high = zip(*_curve(results, name, measure), strict=True)
        panel.plot(x, y, label=name, markersize=4.5, linewidth=1.6, zorder=3, **look)
        panel.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0, zorder=2)
        ends.append((x[0], y[0], f"{name}  {y[0]:.1f}", look["color"]))
    _budget_axis(panel, results)
    for words, level in _none_levels(results, measure):
        panel.axhline(level, color="black", linewidth=1, zorder=2)
        ends.append((panel.get_xlim()[1], level, f"{words}  {level:.1f}", "black"))
    panel.set_ylabel(axis_of(measure))
    note = "bands: 95 % intervals" + (f"; grey: the other {len(others)} methods" if others else "")
    note += "; dashed: more tokens per layer than the budget" if more.intersection((*names, *others)) else ""
    heading(panel, f"{measure.capitalize()} against visual tokens kept", f"{about(results)}\n{note}")
    label_ends(figure, panel, ends)
    return figure


def radar_figure(results: Results, highlight: Sequence[str] = (), retain: Budget | None = None) -> Figure:
    """Radar of retention by task, one polygon for each method (ToDRE, figure 3).

    Args:
        results: methods without a budget are shown if they are named in `highlight`.
        highlight: the methods to show; without it, both ToDRE methods, random and the best others within the budget.
        retain: the budget; without it, the one nearest to 10 %.

    Raises:
        InvalidValueError: there is no such method or budget, or there are fewer than three tasks.
    """
    at = results.budget(retain)
    found = {entry.name: entry for entry in (*results.at(None), *results.at(at))}
    names = highlight or [n for n in highlighted(results, (), _MOST_POLYGONS) if n in {e.name for e in results.at(at)}]
    shown = [found[name] for name in styles_of(highlighted(results, names)) if name in found]
    tasks = [task for task in results.tasks if all(e.value("retention", task).value is not None for e in shown)]
    if len(tasks) < 3:
        raise InvalidValueError(
            f"A radar needs three tasks with a retention, and there are {len(tasks)}; use `todre plot heatmap`."
        )
    figure, (flat,) = panels(1, "", 5.6)
    figure.set_size_inches(8.0, 5.8)
    flat.remove()
    panel: Any = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * place / len(tasks) for place in range(len(tasks))]
    for entry, look in zip(shown, styles_of([entry.name for entry in shown]).values(), strict=True):
        values = [100 * (entry.value("retention", task).value or 0.0) for task in tasks]
        closed = [*angles, angles[0]], [*values, values[0]]
        label = f"{entry.name}  {100 * (entry.value('retention').value or 0):.1f} ({entry.layer_mean:.0f})"
        panel.plot(*closed, label=label, markersize=4, linewidth=1.5, zorder=3, **look)
    turn = [2 * math.pi * step / 180 for step in range(181)]
    every = f"no pruning  100.0 ({shown[0].before:.0f})"
    panel.plot(turn, [_FULL] * len(turn), color="black", linewidth=1, zorder=2, label=every)
    _round_axis(panel, angles, short_tasks(tasks), shown)
    left_out = len(results.tasks) - len(tasks)
    note = f"; {left_out} tasks without a ratio are left out" if left_out else ""
    heading(panel, f"Retention by task, {budget_text(at)} kept", f"{about(results)}{note}", pad=34)
    figure.legend(
        title="mean over tasks, %\n(visual tokens per layer)", loc="outside right center", frameon=False, fontsize=9.5,
        title_fontsize=9,
    )  # fmt: skip
    return figure


def _curve(results: Results, name: str, measure: str) -> list[tuple[float, float, float, float]]:
    """Points (share kept, value, low, high) in percent, from few tokens to many."""
    found = []
    for entry in results.of(name):
        inside = entry.value(measure)
        if entry.retain is not None and inside.value is not None:
            low, high = (inside.value if edge is None else edge for edge in (inside.low, inside.high))
            found.append((100 * share_of(entry.retain, entry.before), 100 * inside.value, 100 * low, 100 * high))
    return sorted(found)


def _budget_axis(panel: Axes, results: Results) -> None:
    """Set a log axis of budgets, from many tokens at the left to few at the right."""
    shares = sorted({100 * share_of(e.retain, e.before) for e in results.entries if e.retain is not None})
    share_axis(panel, shares, 1.06)
    panel.set_xlabel("budget: visual tokens kept, %, as each method counts it (log scale, fewer to the right)")


def _none_levels(results: Results, measure: str) -> list[tuple[str, float]]:
    """Pairs (words, level) for no pruning; one for each model if scores are shown."""
    if measure != "score":
        return [("no pruning", _FULL if measure == "retention" else 0.0)]
    return [(e.name.replace("none", "no pruning", 1), 100 * (e.value("score").value or 0.0)) for e in results.none]


def _round_axis(panel: Any, angles: Sequence[float], names: Sequence[str], shown: Sequence[Entry]) -> None:
    """Set names around the radar, and rings from below the lowest value outwards."""
    panel.set_theta_offset(math.pi / 2)
    panel.set_theta_direction(-1)
    panel.set_xticks(angles, names, fontsize=9, parse_math=False)
    panel.tick_params(axis="x", pad=7)
    values = [100 * (e.value("retention", t).value or 0.0) for e in shown for t in e.values["retention"] if t != ALL]
    low = max(0, 10 * math.floor(min(values, default=0) / 10) - 10)
    high = max(105.0, *values)
    panel.set_ylim(low, high)
    rings = list(range(low, 101, 10 if low >= 40 else 20))
    panel.set_yticks(rings, [""] * len(rings))
    for ring in rings[1:]:
        panel.text(
            math.pi / max(len(names), 1), ring, f"{ring} %", fontsize=8.5, color=GREY, ha="center", va="center",
            bbox={"facecolor": "white", "alpha": 0.85, "pad": 0.8, "linewidth": 0}, zorder=5,
        )  # fmt: skip
    panel.grid(color="#DDDDDD", linewidth=0.7)
    panel.spines["polar"].set_visible(False)


def heading(panel: Axes, title: str, under: str, pad: float = 6) -> None:
    """Write a bold title over smaller lines, above everything that stands on the axes."""
    small = panel.set_title(under, fontsize=8.5, loc="left", color="#444444", pad=pad, parse_math=False)
    panel.annotate(
        title, (0, 1), xycoords=small, xytext=(0, 4), textcoords="offset points", fontsize=11.5, fontweight="bold",
        va="bottom", annotation_clip=False, parse_math=False,
    )  # fmt: skip


def axis_of(measure: str) -> str:
    """Label of the axis that shows a measure."""
    return {
        "retention": "Retention of no pruning's score, %",
        "score": "Score, mean over tasks, %",
        "difference": "Score minus no pruning's, points",
    }[measure]
