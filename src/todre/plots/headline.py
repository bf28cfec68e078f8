"""The README's figure: time that pruning saves, and accuracy that it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from todre.plots.across_budgets import heading
from todre.plots.label_places import Placed, label_ends
from todre.plots.lines import BLUE, GREEN, GREY, ORANGE, RED, panels, share_axis
from todre.reading.result_pages import NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS: dict[str, dict[str, Any]] = {
    "todre": {"color": BLUE, "marker": "o"},
    "todre-v1": {"color": RED, "marker": "s"},
    "cls-top-k": {"color": GREEN, "marker": "D"},
    "random": {"color": "#333333", "marker": "v", "linestyle": ":"},
}
_MINE: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 7}
_BOUND: dict[str, Any] = {
    "color": ORANGE, "marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgewidth": 2,
}  # fmt: skip
_DARK_ORANGE = "#9A6A00"
"""Colour of text about the bound, whose line is orange."""


@dataclass(frozen=True)
class _Time:
    """Seconds to the first token at one share, with 20 % and 80 % quantiles."""

    share: float
    middle: float
    low: float
    high: float


def headline_figure(bench: Mapping[str, Any], heldout: Mapping[str, Any]) -> Figure:
    """Figure of time to the first token, and of accuracy, against visual tokens kept.

    The left panel shows times from the first cell of `bench`: of its first method, of no pruning, and of the bound, a
    prompt that was shortened by hand. The right panel shows accuracies from `heldout`: of every method, run with both
    stages where the method has two.

    Args:
        bench: a document of `todre bench`.
        heldout: a document of `todre.evaluate.heldout`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure, (left, right) = panels(2, "", 4.45)
    rows = [row for row in bench["rows"] if row["asked"] == bench["finished"][0]]
    times = _draw_times(left, rows)
    scores = _draw_scores(right, heldout)
    shares = sorted({time.share for kind in ("method", "oracle") for time in _times(rows, kind)} | _shares(heldout))
    for panel in (left, right):
        share_axis(panel, shares, 1.08)
        panel.set_xlabel("visual tokens kept, %")
    heading(left, "Time to the first token", _about_times(bench, rows))
    heading(right, "Accuracy", _about_scores(heldout))
    for panel, ends in ((left, times), (right, scores)):
        edge = panel.get_xlim()[1]
        label_ends(figure, panel, [(x or edge, y, text, colour) for x, y, text, colour in ends], size=10)
    return figure


def _times(rows: Sequence[Mapping[str, Any]], kind: str) -> list[_Time]:
    """Times of the first method, or of its bound, from few tokens to many."""
    first = next(row["subject"] for row in rows if row["kind"] == "method").partition("@")[0]
    found = []
    for row in rows:
        if row["kind"] == kind and (row["of"] or row["subject"]).partition("@")[0] == first:
            tokens, spread = row["visual_tokens"], row["ms"]["first_token"]
            share = 100 * tokens["entered"] / tokens["before"]
            found.append(_Time(round(share, 1), *(spread[edge] / 1000 for edge in ("p50", "p20", "p80"))))
    return sorted(found, key=lambda time: time.share)


def _draw_times(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> list[Placed]:
    """Draw no pruning, the method, its bound and the vision tower's part.

    Returns:
        Labels of their ends; x is 0 for a line that ends at the panel's edge.
    """
    none = next(row for row in rows if row["kind"] == "none")
    level, tower = (none["ms"][name]["p50"] / 1000 for name in ("first_token", "encode"))
    mine, bound = _times(rows, "method"), _times(rows, "oracle")
    panel.axhline(level, color="black", linewidth=1, zorder=2)
    panel.axhspan(0, tower, color=GREY, alpha=0.16, linewidth=0, zorder=1)
    for times, look in ((mine, _MINE), (bound, _BOUND)):
        if not times:
            continue
        joined = "-" if len(times) > 2 else "none"
        panel.plot([t.share for t in times], [t.middle for t in times], linestyle=joined, zorder=3, **look)
        panel.vlines([t.share for t in times], [t.low for t in times], [t.high for t in times], color=look["color"])
    least = mine[0]
    panel.annotate(
        "", (least.share, least.middle + 0.04 * level), xytext=(least.share, level),
        arrowprops={"arrowstyle": "->", "color": BLUE, "linewidth": 1.4},
    )  # fmt: skip
    panel.annotate(
        f"{level / least.middle:.1f} times\nas soon", (least.share, (level + least.middle) / 2), xytext=(8, 0),
        textcoords="offset points", fontsize=11, fontweight="bold", color=BLUE, va="center",
    )  # fmt: skip
    panel.locator_params(axis="y", integer=True, nbins=5)
    panel.set_ylim(0, 1.08 * max(level, *(time.high for time in mine)))
    panel.set_ylabel("seconds")
    ends: list[Placed] = [(0.0, level, f"no pruning  {level:.1f} s", "black")]
    ends.append((least.share, least.middle, f"ToDRE  {least.middle:.2f} s", BLUE))
    if bound:
        ends.append((bound[0].share, bound[0].middle, f"the bound  {bound[0].middle:.2f} s", _DARK_ORANGE))
    return [*ends, (0.0, tower / 2, f"vision tower  {tower:.1f} s", "#444444")]


def _shares(heldout: Mapping[str, Any]) -> set[float]:
    """Shares of visual tokens kept, in percent, including 100 for no pruning."""
    return {100.0, *(100 * row["retain"] for row in heldout["rows"] if row["retain"] is not None)}


def _draw_scores(panel: Axes, heldout: Mapping[str, Any]) -> list[Placed]:
    """Draw a line with a band for each method, all from no pruning's score.

    Returns:
        Labels of their ends; x is 0 for a line that ends at the panel's edge.
    """
    none = next(row for row in heldout["rows"] if row["method"] == "none")["all"]
    panel.axhline(100 * none["score"], color="black", linewidth=1, zorder=2)
    ends: list[Placed] = [(0.0, 100 * none["score"], f"{NAMES['none']}  {100 * none['score']:.1f}", "black")]
    for name, look in _LOOKS.items():
        rows = [row for row in heldout["rows"] if row["method"] == name and row["stages"] != "1"]
        rows.sort(key=lambda row: -row["retain"])
        shares = [100.0, *(100 * row["retain"] for row in rows)]
        points = [none, *(row["all"] for row in rows)]
        middle, low, high = ([100 * point[key] for point in points] for key in ("score", "low", "high"))
        panel.plot(shares, middle, markersize=5.5, linewidth=1.7, zorder=3, label=NAMES[name], **look)
        panel.fill_between(shares, low, high, color=look["color"], alpha=0.14, linewidth=0, zorder=2)
        ends.append((shares[-1], middle[-1], f"{NAMES[name]}  {middle[-1]:.1f}", look["color"]))
    panel.set_ylabel("accuracy, mean over tasks, %")
    return ends


def _about_times(bench: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Text on the model, the machine, and what the bound is."""
    model, machine, cell = bench["conditions"]["model"], bench["conditions"]["machine"], rows[0]["cell"]
    threads = f"{cell['threads']} thread{'s' if cell['threads'] > 1 else ''}"
    where = f"{machine['cpu'].replace('(R)', '')}, {threads}" if machine["device"] == "cpu" else machine["device"]
    weights = f"{model['weights']} weights, " if model["weights"] == "random" else ""
    tokens = rows[0]["visual_tokens"]["before"]
    rounds = bench["conditions"]["rounds"]["rounds"]
    return (
        f"{model['name']}, {weights}{model['dtype']}; {tokens:,} visual tokens\n"
        f"{where}; medians of {rounds} rounds\n"
        "bound: the prompt shortened by hand, given to the untouched model"
    )


def _about_scores(heldout: Mapping[str, Any]) -> str:
    """Text on the model, the questions, and what the bands are."""
    run = heldout["conditions"]
    tokens = next(row for row in heldout["rows"] if row["method"] == "none")["visual_tokens"][0]
    return (
        f"{run['model']['id']}, trained, {run['model']['dtype']}; {tokens:,} visual tokens\n"
        f"{run['questions']:,} questions about {run['pictures']} pictures; bands: 95 % intervals\n"
        "greedy decoding, tokens really dropped; captions by the F1 of what they name"
    )
