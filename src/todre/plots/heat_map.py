"""The heat map of `todre plot`: every method by every task at one budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from todre.plots.across_budgets import about, axis_of, heading, short_tasks
from todre.plots.lines import panels
from todre.reading.choice import best_first
from todre.reading.costs import exceeds
from todre.reading.results import ALL, Budget, Entry, Results
from todre.reading.tables import budget_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIGURE_SPACE = "\u2007"
"""A space as wide as a digit."""
_ROW = 0.225
"""Height of a method's row, in inches."""
_APART = 0.25
"""Width of the gap between the mean and the tasks, in cells."""


def heatmap_figure(
    results: Results, highlight: Sequence[str] = (), retain: Budget | None = None, measure: str = "retention"
) -> Figure:
    """Figure of a measure of every method and task at one budget.

    Methods within the budget stand above those that carry more visual tokens per layer, each group from the best to
    the worst. Beside each name stand the visual tokens that a decoder layer ran on, the mean over layers and questions.

    Args:
        results: methods without a budget are shown too, with a degree sign.
        highlight: methods whose names are bold.
        retain: the budget; without it, the one nearest to 10 %.
        measure: `retention` or `difference`; a star marks where the difference's interval excludes 0.

    Raises:
        InvalidValueError: there is no such method or budget.
    """
    at = results.budget(retain)
    if highlight:
        results.only(highlight)
    rows = _rows(best_first((*results.at(at), *results.at(None)), measure), at)
    tasks = (ALL, *results.tasks)
    last = max(rows)
    figure, (panel,) = panels(1, "", 2.1 + _ROW * last)
    figure.set_size_inches(2.5 + 0.66 * len(tasks), 2.1 + _ROW * last)
    for line, entry in rows.items():
        if isinstance(entry, str):
            panel.text(-0.5, line + 0.05, entry, fontsize=9, fontstyle="italic", color="#333333", va="center")
        else:
            _row(panel, line, entry, measure, tasks)
    methods = {line: entry for line, entry in rows.items() if isinstance(entry, Entry)}
    panel.set_yticks(list(methods), [_name(entry) for entry in methods.values()], fontsize=9, parse_math=False)
    for text, entry in zip(panel.get_yticklabels(), methods.values(), strict=True):
        text.set_fontweight("bold" if entry.name in highlight else "normal")
    places = [0.0, *(place + 1 + _APART for place in range(len(results.tasks)))]
    panel.set_xticks(
        places, ["mean", *short_tasks(results.tasks)], fontsize=9, rotation=35, ha="left", parse_math=False
    )
    panel.xaxis.tick_top()
    panel.tick_params(length=0)
    panel.set(xlim=(-0.5, places[-1] + 0.5), ylim=(last + 0.5, min(rows) - 0.5))
    panel.spines[:].set_visible(False)
    own = "; ° a budget of its own" if any(entry.retain is None for entry in methods.values()) else ""
    beside = f"beside each name: visual tokens per decoder layer ({results.none[0].visual_tokens:.0f} without pruning)"
    star = "* the 95 % interval of the difference to no pruning excludes 0"
    heading(panel, f"{axis_of(measure)}, {budget_text(at)} kept", f"{about(results)}\n{beside}\n{star}{own}", pad=6)
    return figure


def _rows(entries: Sequence[Entry], retain: Budget) -> dict[float, Entry | str]:
    """Methods by line, and headings of their groups if there are two groups."""
    within = [entry for entry in entries if not exceeds(entry, retain)]
    over = [entry for entry in entries if exceeds(entry, retain)]
    if not within or not over:
        return dict(enumerate(entries))
    budget = retain if isinstance(retain, int) else retain * entries[0].before
    words = f"visual tokens per layer than the budget of {budget:.0f}"
    return {
        0.0: f"no more {words}",
        **{1.0 + line: entry for line, entry in enumerate(within)},
        1.4 + len(within): f"over 5 % more {words}",
        **{2.4 + len(within) + line: entry for line, entry in enumerate(over)},
    }


def _name(entry: Entry) -> str:
    """The method's name, and its tokens per layer in a column of four digits."""
    own = "°" if entry.retain is None else ""
    return f"{entry.name}{own} {f'{entry.layer_mean:.0f}'.rjust(5, _FIGURE_SPACE)}"


def _row(panel: Axes, line: float, entry: Entry, measure: str, tasks: Sequence[str]) -> None:
    """Draw a method's coloured cells and numbers; the first, the mean, stands apart."""
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    colours = mpl.colormaps["RdBu"]
    middle, form = (100.0, ".0f") if measure == "retention" else (0.0, "+.1f")
    for place, task in enumerate(tasks):
        value = entry.value(measure, task).value
        left = place + (_APART if place else 0.0) - 0.5
        strength = 0.5 if value is None else min(max(0.5 + (100 * value - middle) / 120, 0.0), 1.0)
        cell = Rectangle(
            (left, line - 0.5), 1, 1, facecolor=colours(strength), edgecolor="white", linewidth=0.8, in_layout=False
        )
        panel.add_patch(cell)
        text = "–" if value is None else f"{100 * value:{form}}{'*' if entry.differs(task) else ''}"
        panel.text(
            left + 0.5, line, text, ha="center", va="center", fontsize=8.5,
            color="white" if abs(strength - 0.5) > 0.33 else "black", fontweight="bold" if place == 0 else "normal",
            in_layout=False,
        )  # fmt: skip
