"""Figures of `todre analyze`: one function for each instrument's JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from todre.plots.label_places import style
from todre.plots.lines import BLUE, GREEN, GREY, ORANGE, RED, legend_below, line, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEAR_ZERO = 0.01
"""Probability below which the axis of the horizon is linear."""
_TARGETS = {"system": BLUE, "visual": ORANGE, "text": GREEN, "generated": GREY}


def migration_figure(document: dict[str, Any]) -> Figure:
    """Figure of attention by layer, in prefill and in decode (ToDRE, figures 2 and 5)."""
    layers = [row["layer"] for row in document["layers"]]
    figure, (across, text, generated) = panels(3, _title("Information migration", document), height=4.6)
    prefill = [row["prefill"] for row in document["layers"]]
    for name, colour, label in (
        ("text_to_visual", ORANGE, "text → visual"),
        ("visual_to_text", BLUE, "visual → text"),
    ):
        line(across, layers, [row[name] for row in prefill], colour, label, scale=100)
    across.axhline(
        100 * document["uniform"]["text_to_visual"], color=GREY, linestyle=":", label="… if all keys were alike"
    )
    for name, colour in list(_TARGETS.items())[:3]:
        line(text, layers, [row[f"text_to_{name}"] for row in prefill], colour, f"text → {name}", scale=100)
    for name, colour in _TARGETS.items():
        points = [row["decode"][name] for row in document["layers"]]
        line(generated, layers, points, colour, f"generated → {name}", scale=100)
    titles = ("Prefill, across modalities (figure 2)", "Prefill, text tokens", "Decode, generated tokens (figure 5)")
    for panel, title in zip((across, text, generated), titles, strict=True):
        _finish(panel, title, "decoder layer", "attention, %", legend=False)
        panel.set_ylim(-2, 102)
        panel.set_xticks(layers if len(layers) <= 10 else layers[:: -(-len(layers) // 8)])
        legend_below(panel)
    return figure


def horizon_figure(document: dict[str, Any]) -> Figure:
    """Figure of information by layer: of each window, and of all tokens together."""
    figure, (largest, spread, together) = panels(3, _title("Information horizon", document), height=4.8)
    tasks = document["tasks"]
    side = document["window"]
    for number, (name, values) in enumerate(tasks.items()):
        look = style(number - 1) if name != "all" else {"color": "black", "marker": "o", "linestyle": "-"}
        for panel, curve in ((largest, "largest"), (spread, "spread"), (together, "all_together_size")):
            points = values[curve] if name == "all" else [{**point, "low": None} for point in values[curve]]
            marks = f"{look['marker']}{look['linestyle']}"
            line(panel, [point["layer"] for point in points], points, look["color"], name, style=marks)
    for panel in (largest, together):
        panel.axhline(document["tolerance"], color=GREY, linestyle=":", label=f"tolerance {document['tolerance']:g}")
    titles = (
        f"Largest |information|,\n{side} × {side} window",
        "Spread over windows\n(standard deviation)",
        "All tokens together:\n|p(full) − p(text)|",
    )
    for panel, title in zip((largest, spread, together), titles, strict=True):
        _finish(panel, title, "layers that see the picture", "probability", legend=False)
        panel.set_xticks([point["layer"] for point in tasks["all"]["largest"]])
        panel.set_yscale("symlog", linthresh=_NEAR_ZERO)
        ticks = [0, _NEAR_ZERO, 0.03, 0.1, 0.3, 1]
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        panel.minorticks_off()
        panel.set_ylim(0, 1.1)
    handles, labels = largest.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    return figure


def redundancy_figure(document: dict[str, Any]) -> Figure:
    """Figure of both redundancies: their correlation, and one against the other."""
    figure, (over, scatter) = panels(2, _title("The two redundancies of eq. 8 and 9", document), height=4.9)
    kinds = document["cross_modal"]
    layers = [name for name in kinds if name.startswith("attention ")]
    places = [int(name.split()[1]) for name in layers]
    line(
        over, places, [kinds[name]["over_tokens"]["pearson"] for name in layers], BLUE, "tokens of a question, Pearson"
    )
    line(
        over, places, [kinds[name]["over_tokens"]["spearman"] for name in layers], GREEN,
        "tokens of a question, Spearman", style="s--",
    )  # fmt: skip
    line(over, places, [kinds[name]["over_questions"] for name in layers], RED, "questions (D against R)", key="r")
    over.axhline(0, color=GREY, linestyle=":", label="0, as appendix B assumes")
    _finish(over, "ρ by attention", "decoder layer", "correlation", legend=False)
    legend_below(over, 2)
    over.set_ylim(-1.02, 1.02)
    records = document["records"]
    for number, task in enumerate(dict.fromkeys(record["task"] for record in records)):
        mine = [record for record in records if record["task"] == task]
        look = style(number) | {"linestyle": "none"}
        scatter.plot(
            [record["D"] for record in mine], [record["R"]["embedding"] for record in mine],
            markersize=4.5, alpha=0.8, label=task, **look,
        )  # fmt: skip
    found = kinds["embedding"]["over_questions"]
    value = "undefined" if found["r"] is None else f"{found['r']:+.2f}{_interval(found)}"
    title = f"ρ by embedding: r = {value}"
    _finish(scatter, title, "D, within vision (eq. 8)", "R, across modalities (eq. 9)", legend=False)
    legend_below(scatter, 4)
    return figure


def calibration_figure(document: dict[str, Any]) -> Figure:
    """Figure of the cost of dropping tokens at each layer, and at every threshold."""
    figure, (always, trade) = panels(2, _title("Calibration of stage 2", document), height=5.2)
    rows = document["layers"]
    line(
        always, [row["layer"] for row in rows], [row["always_dropped"] for row in rows], BLUE, "always dropped",
        scale=100,
    )  # fmt: skip
    loss = -100 * document["loss_allowed"]
    for panel in (always, trade):
        panel.axhline(loss, color=RED, linestyle=":", label="loss allowed")
        panel.axhline(0, color=GREY, linewidth=0.8)
    _finish(
        always, "Dropped after a layer, whatever attention says", "decoder layer", "change in accuracy, points",
        legend=False,
    )  # fmt: skip
    legend_below(always, 2)
    for number, row in enumerate(rows):
        points = [point for point in row["thresholds"] if point["mean"] is not None]
        trade.plot(
            [100 * point["saved"] for point in points], [100 * point["mean"] for point in points],
            markersize=4, label=f"layer {row['layer']}", **style(number),
        )  # fmt: skip
    for name, marker, half_of in (("chosen_on", "*", "its own half"), ("checked_on", "D", "the other half")):
        half = document[name]
        if half["difference"] is not None:
            edges = half["difference"]
            around = None
            if edges["low"] is not None:
                around = [[100 * (edges["mean"] - edges["low"])], [100 * (edges["high"] - edges["mean"])]]
            trade.errorbar(
                [100 * half["saved"]], [100 * edges["mean"]], yerr=around, fmt=marker, color="black", capsize=3,
                label=f"the choice, on {half_of}",
            )  # fmt: skip
    across = "layer passes of visual tokens saved, %"
    _finish(trade, "Dropped by threshold τ, every τ and layer", across, "change in accuracy, points", legend=False)
    legend_below(trade, 4)
    return figure


def _title(what: str, document: dict[str, Any]) -> str:
    conditions = document["conditions"]
    questions = conditions["questions"]
    about = "one picture" if questions["pictures"] == 1 else f"{questions['pictures']} pictures"
    return (
        f"{what}: {conditions['model']['id']}, {questions['questions']} questions about {about}; bands: 95 % intervals"
    )


def _interval(values: dict[str, Any]) -> str:
    return "" if values["low"] is None else f" [{values['low']:+.2f}, {values['high']:+.2f}]"


def _finish(panel: Axes, title: str, across: str, up: str, legend: bool = True) -> None:
    panel.set_title(title, fontsize=10)
    panel.set(xlabel=across, ylabel=up)
    if legend:
        panel.legend(fontsize=9)


FIGURES = {
    "migration": migration_figure,
    "horizon": horizon_figure,
    "redundancy": redundancy_figure,
    "calibrate": calibration_figure,
}
"""Functions that draw figures, by name of the instrument."""
