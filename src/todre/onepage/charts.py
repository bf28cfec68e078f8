"""Plots with Altair, whose intervals stand under the pointer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from todre.onepage.pieces import Chart
from todre.plots.lines import BLUE, GREEN, ORANGE, PINK, RED, SKY

GREY = "#8A8A8A"
"""Colour of what is not named; it shows on white and on black."""
COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, "#9467BD", "#A5AA99")
ROWS = "rows"
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
ROW = 20
"""Height of a row of bars or dots, in pixels."""

Record = Mapping[str, str | float | None]
Tip = tuple[str, str, str]
"""A field's name, its type with its format (`N`, or `Q.1f`), and its title."""


def tooltip(tips: Sequence[Tip]) -> list[Any]:
    """What stands under the pointer, line by line."""
    import altair as alt

    return [
        alt.Tooltip(field=name, type="quantitative", format=kind[1:], title=title)
        if kind.startswith("Q")
        else alt.Tooltip(field=name, type="nominal", title=title)
        for name, kind, title in tips
    ]


def interval_tips(unit: str, low: str = "95 % interval, low", high: str = "95 % interval, high") -> tuple[Tip, ...]:
    """The lines of a value and its interval."""
    return (("value", "Q.4~g", unit), ("low", "Q.4~g", low), ("high", "Q.4~g", high))


def colour(domain: Sequence[str]) -> Any:
    """Colours of names, in order."""
    import altair as alt

    scale = alt.Scale(domain=list(domain), range=[COLOURS[place % len(COLOURS)] for place in range(len(domain))])
    return alt.Color(field="name", type="nominal", scale=scale, legend=_legend())


def shape(domain: Sequence[str]) -> Any:
    """Markers of names, in order, so that colour alone tells nothing apart."""
    import altair as alt

    scale = alt.Scale(domain=list(domain), range=[SHAPES[place % len(SHAPES)] for place in range(len(domain))])
    return alt.Shape(field="name", type="nominal", scale=scale, legend=_legend())


def _legend() -> Any:
    import altair as alt

    return alt.Legend(title=None, orient="bottom", labelLimit=220, symbolOpacity=1)


def dots(
    records: Sequence[Record], across: str, names: Sequence[str], tips: Sequence[Tip], zero: bool = False
) -> dict[str, Any]:
    """Rows of dots with bars of their intervals, in the order of the records.

    Args:
        records: each has `row`, `name` (whose colour it has), `value`, `low` and `high`, and the fields of `tips`.
        across: title of the axis.
        names: every `name`, in the order of their colours.
        tips: lines under the pointer.
        zero: whether the axis begins at 0.
    """
    import altair as alt

    rows = list(dict.fromkeys(record["row"] for record in records))
    base = alt.Chart(alt.NamedData(name=ROWS))
    y: dict[str, Any] = {
        "y": alt.Y(field="row", type="nominal", sort=rows, title=None, axis=alt.Axis(labelLimit=200)),
        "yOffset": alt.YOffset(field="name", type="nominal", sort=list(names)),
        "color": colour(names),
        "tooltip": tooltip(tips),
    }
    x = alt.X(field="value", type="quantitative", title=across, scale=alt.Scale(zero=zero))
    bars = base.mark_rule(strokeWidth=2, opacity=0.7).encode(
        x=alt.X(field="low", type="quantitative", title=across), x2=alt.X2(field="high"), **y
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, shape=shape(names), **y)
    height = ROW * len(rows) * max(1.0, len(names) * 0.7)
    return finished(alt.layer(bars, points), {ROWS: records}, height)


def finished(chart: Any, data: Mapping[str, Sequence[Record]], height: float) -> dict[str, Any]:
    """The chart's document: as wide as its place on the page.

    Altair checks the document against Vega-Lite's schema.

    Args:
        chart: made of named data.
        data: records by the data's name.
        height: of the axes, in pixels.
    """
    values = {name: [dict(record) for record in records] for name, records in data.items()}
    made = chart.properties(width="container", height=height, datasets=values)
    made = made.configure(background="transparent", autosize={"type": "fit-x", "contains": "padding"})
    document: dict[str, Any] = made.to_dict()
    return document


def chart(title: str, caption: str, spec: Mapping[str, Any]) -> Chart:
    """A plot with a description for who cannot see it."""
    return Chart(title=title, caption=caption, spec={**spec, "description": f"{title}. {caption}"})
