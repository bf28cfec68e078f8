"""Plots of results of `todre eval`: retention by budget, by cost and by task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from todre.onepage.charts import (
    GREY,
    ROW,
    ROWS,
    Record,
    Tip,
    chart,
    colour,
    dots,
    finished,
    interval_tips,
    shape,
    tooltip,
)
from todre.onepage.pieces import Chart
from todre.reading.choice import best_first, highlighted
from todre.reading.costs import exceeds
from todre.reading.results import ALL, Entry, Interval, Results, share_of
from todre.reading.tables import budget_text

_RETENTION = "retention, %"
_MINE, _OTHERS = "mine", "others"
_HEIGHT = 380
"""Height of a plot of two axes, in pixels."""
_TIPS: tuple[Tip, ...] = (
    ("name", "N", "method"),
    ("budget", "N", "budget"),
    *interval_tips(_RETENTION),
    ("tokens", "Q.0f", "visual tokens per layer"),
    ("draws", "Q.0f", "draws"),
)
_INTERVALS = "Bars and bands are 95 % intervals; the numbers stand under the pointer and in the tables."


def charts_of(results: Results) -> Iterator[Chart]:
    """The plots for which the results have numbers."""
    if not results.entries:
        yield _scores(results)
        return
    records = [_record(entry) for entry in results.entries if entry.value("retention").value is not None]
    there = {record["name"] for record in records}
    names = [name for name in highlighted(results) if name in there]
    of_budgets = [record for record in records if record["share"] is not None]
    grey = "" if len(names) == len(there) else " Grey: the other methods."
    if len({record["share"] for record in of_budgets}) > 1:
        budgeted = {record["name"] for record in of_budgets}
        mine = [name for name in names if name in budgeted]
        yield chart("Retention by budget", f"{_INTERVALS}{grey}", _curves(of_budgets, mine))
    if records:
        yield chart(
            "Retention by cost",
            f"Visual tokens that a decoder layer ran on, the mean over layers and questions. {_INTERVALS}{grey}",
            _costs(records, names),
        )
    shown = _at_budget(results)
    if len(results.tasks) > 1 and shown:
        at = f" at {budget_text(results.budget())}" if results.budgets else ""
        yield chart(
            f"Retention by task{at}",
            "Blue: more than without pruning; red: less. Methods within the budget stand first, then those that carry "
            "more tokens; value and interval stand under the pointer.",
            _tasks(results, shown),
        )


def _percent(interval: Interval) -> dict[str, float | None]:
    edges = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if edge is None else round(100 * edge, 4) for name, edge in edges.items()}


def _record(entry: Entry) -> Record:
    """A method at a budget, in percent."""
    return {
        "name": entry.name,
        "budget": budget_text(entry.retain),
        "share": None if entry.retain is None else round(100 * share_of(entry.retain, entry.before), 4),
        "tokens": entry.layer_mean,
        "cost": round(100 * entry.share, 4),
        "draws": entry.draws,
        **_percent(entry.value("retention")),
    }


def _scores(results: Results) -> Chart:
    """Scores without pruning by task, where there is no method."""
    records: list[Record] = [
        {"row": "mean" if task == ALL else task, "name": none.name, **_percent(none.value("score", task))}
        for none in results.none
        for task in (ALL, *results.tasks)
    ]
    tips = (("row", "N", "task"), *interval_tips("score, %"))
    names = [none.name for none in results.none]
    return chart("Score without pruning", _INTERVALS, dots(records, "score, %", names, tips))


def _split(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[Record]]:
    """The records with a colour, and the others if there are any."""
    mine = [record for record in records if record["name"] in names]
    others = [record for record in records if record["name"] not in names]
    return {_MINE: mine, **({_OTHERS: others} if others else {})}


def _curves(records: Sequence[Record], names: Sequence[str]) -> dict[str, Any]:
    import altair as alt

    data, mine = _split(records, names), alt.Chart(alt.NamedData(name=_MINE))
    shares = sorted({record["share"] for record in records if isinstance(record["share"], float)})
    axis = alt.Axis(values=shares, format="~g", grid=False)
    title = "budget: visual tokens kept, %"
    x = alt.X(
        field="share",
        type="quantitative",
        title=title,
        axis=axis,
        scale=alt.Scale(type="log", reverse=True, nice=False),
    )
    y = alt.Y(field="value", type="quantitative", title=_RETENTION, scale=alt.Scale(zero=False))
    grey = {"x": x, "y": y, "detail": alt.Detail(field="name", type="nominal")}
    own = {"x": x, "color": colour(names)}
    layers = _greys(grey) if _OTHERS in data else []
    band = mine.mark_area(opacity=0.12).encode(
        y=alt.Y(field="low", type="quantitative"), y2=alt.Y2(field="high"), **own
    )
    line = mine.mark_line(strokeWidth=2).encode(y=y, **own)
    points = mine.mark_point(size=60, filled=True, opacity=1)
    points = points.encode(y=y, shape=shape(names), tooltip=tooltip(_TIPS), **own)
    return finished(alt.layer(*layers, band, line, points), data, _HEIGHT)


def _greys(encoding: dict[str, Any]) -> list[Any]:
    """Lines and points of the methods without a colour."""
    import altair as alt

    others = alt.Chart(alt.NamedData(name=_OTHERS))
    line = others.mark_line(color=GREY, opacity=0.3, strokeWidth=1).encode(**encoding)
    points = others.mark_point(color=GREY, opacity=0.35, size=20, filled=True)
    return [line, points.encode(tooltip=tooltip(_TIPS), **encoding)]


def _costs(records: Sequence[Record], names: Sequence[str]) -> dict[str, Any]:
    import altair as alt

    data, mine = _split(records, names), alt.Chart(alt.NamedData(name=_MINE))
    title = "visual tokens per layer, % of no pruning"
    x = alt.X(field="cost", type="quantitative", title=title, scale=alt.Scale(type="log", nice=False, padding=12))
    y = alt.Y(field="value", type="quantitative", title=_RETENTION, scale=alt.Scale(zero=False))
    low = alt.Y(field="low", type="quantitative")
    own = {"x": x, "color": colour(names), "tooltip": tooltip(_TIPS)}
    grey = alt.Chart(alt.NamedData(name=_OTHERS)).mark_point(color=GREY, opacity=0.35, size=20, filled=True)
    layers = [grey.encode(x=x, y=y, tooltip=tooltip(_TIPS))] if _OTHERS in data else []
    bars = mine.mark_rule(strokeWidth=1.5, opacity=0.5).encode(y=low, y2=alt.Y2(field="high"), **own)
    points = mine.mark_point(size=60, filled=True, opacity=1).encode(y=y, shape=shape(names), **own)
    return finished(alt.layer(*layers, bars, points), data, _HEIGHT)


def _at_budget(results: Results) -> list[Entry]:
    """Methods at the usual budget, best first, then those without a budget.

    Among the former, those that carry more tokens come last.
    """
    if not results.budgets:
        return best_first(results.at(None))
    at = results.budget()
    found = best_first(results.at(at))
    found.sort(key=lambda entry: exceeds(entry, at))
    return [*found, *best_first(results.at(None))]


def _tasks(results: Results, shown: Sequence[Entry]) -> dict[str, Any]:
    import altair as alt

    tasks = (ALL, *results.tasks)
    records: list[Record] = [
        {"name": entry.name, "task": "mean" if task == ALL else task, **_percent(entry.value("retention", task))}
        for entry in shown
        for task in tasks
    ]
    tips = (("name", "N", "method"), ("task", "N", "task"), *interval_tips(_RETENTION))
    columns = list(dict.fromkeys(record["task"] for record in records))
    scale = alt.Scale(scheme="redblue", domain=[40, 160], domainMid=100, clamp=True)
    cells = alt.Chart(alt.NamedData(name=ROWS)).encode(
        x=alt.X(field="task", type="nominal", sort=columns, title=None, axis=alt.Axis(orient="top", labelAngle=-40)),
        y=alt.Y(field="name", type="nominal", sort=[entry.name for entry in shown], title=None),
        tooltip=tooltip(tips),
    )
    filled = cells.mark_rect().encode(
        color=alt.Color(
            field="value", type="quantitative", scale=scale, legend=alt.Legend(title=_RETENTION, orient="bottom")
        )
    )
    return finished(filled, {ROWS: records}, ROW * 0.8 * len(shown))
