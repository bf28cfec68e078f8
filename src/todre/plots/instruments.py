"""The figures of `todre analyze`: each one function from an instrument's JSON document to a matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from todre.plots.lines import BLUE, COLOURS, GREEN, GREY, ORANGE, RED, line, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TARGETS = {"system": BLUE, "visual": ORANGE, "text": GREEN, "generated": GREY}


def migration_figure(document: dict[str, Any]) -> Figure:
    """Attention by layer: between the modalities in prefill (ToDRE, figure 2), and of generated tokens (figure 5)."""
    layers = [row["layer"] for row in document["layers"]]
    figure, (across, text, generated) = panels(3, _title("Information migration", document))
    prefill = [row["prefill"] for row in document["layers"]]
    for name, colour, label in (
        ("text_to_visual", ORANGE, "text → visual"),
        ("visual_to_text", BLUE, "visual → text"),
    ):
        line(across, layers, [row[name] for row in prefill], colour, label, scale=100)
    across.axhline(
        100 * document["uniform"]["text_to_visual"], color=GREY, linestyle=":", label="text → visual, all keys alike"
    )
    for name, colour in list(_TARGETS.items())[:3]:
        line(text, layers, [row[f"text_to_{name}"] for row in prefill], colour, f"text → {name}", scale=100)
    for name, colour in _TARGETS.items():
        points = [row["decode"][name] for row in document["layers"]]
        line(generated, layers, points, colour, f"generated → {name}", scale=100)
    titles = ("Prefill, across modalities (figure 2)", "Prefill, text tokens", "Decode, generated tokens (figure 5)")
    for panel, title in zip((across, text, generated), titles, strict=True):
        _finish(panel, title, "decoder layer", "attention, %")
        panel.set_ylim(-2, 102)
    return figure


def horizon_figure(document: dict[str, Any]) -> Figure:
    """The largest information of any window by layer and task, its spread, and the information of all tokens."""
    figure, (largest, spread, together) = panels(3, _title("Information horizon", document), height=4.6)
    tasks = document["tasks"]
    side = document["window"]
    for number, (name, values) in enumerate(tasks.items()):
        colour = "black" if name == "all" else COLOURS[(number - 1) % len(COLOURS)]
        for panel, curve in ((largest, "largest"), (spread, "spread"), (together, "all_together_size")):
            points = values[curve] if name == "all" else [{**point, "low": None} for point in values[curve]]
            line(panel, [point["layer"] for point in points], points, colour, name)
    for panel in (largest, together):
        panel.axhline(document["tolerance"], color=GREY, linestyle=":", label=f"tolerance {document['tolerance']:g}")
    titles = (
        f"Largest |information| of a {side} × {side} window",
        "Spread over windows (standard deviation)",
        "All tokens together: |p(full) − p(text)|",
    )
    for panel, title in zip((largest, spread, together), titles, strict=True):
        _finish(panel, title, "layers that see the whole picture", "probability", legend=panel is largest)
        panel.set_xticks([point["layer"] for point in tasks["all"]["largest"]])
    return figure


def redundancy_figure(document: dict[str, Any]) -> Figure:
    """Correlation of the two redundancies over questions and over tokens, and one against the other."""
    figure, (over, scatter) = panels(2, _title("The two redundancies of eq. 8 and 9", document))
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
    over.axhline(0, color=GREY, linestyle=":", label="what appendix B assumes")
    _finish(over, "ρ by attention", "decoder layer", "correlation")
    over.set_ylim(-1.02, 1.02)
    records = document["records"]
    for number, task in enumerate(dict.fromkeys(record["task"] for record in records)):
        mine = [record for record in records if record["task"] == task]
        scatter.plot(
            [record["D"] for record in mine], [record["R"]["embedding"] for record in mine], "o",
            color=COLOURS[number % len(COLOURS)], markersize=4, alpha=0.8, label=task,
        )  # fmt: skip
    found = kinds["embedding"]["over_questions"]
    said = "undefined" if found["r"] is None else f"{found['r']:+.2f}{_interval(found)}"
    _finish(scatter, f"ρ by embedding: r = {said}", "D, within vision (eq. 8)", "R, across modalities (eq. 9)")
    return figure


def calibration_figure(document: dict[str, Any]) -> Figure:
    """What dropping at each layer costs, and the ways to trade accuracy for saving; the choice is marked."""
    figure, (always, trade) = panels(2, _title("Calibration of stage 2", document))
    rows = document["layers"]
    line(
        always, [row["layer"] for row in rows], [row["always_dropped"] for row in rows], BLUE, "always dropped",
        scale=100,
    )  # fmt: skip
    loss = -100 * document["loss_allowed"]
    for panel in (always, trade):
        panel.axhline(loss, color=RED, linestyle=":", label="loss allowed")
        panel.axhline(0, color=GREY, linewidth=0.8)
    _finish(always, "Dropped after a layer, whatever attention says", "decoder layer", "change in accuracy, points")
    for number, row in enumerate(rows):
        points = [point for point in row["thresholds"] if point["mean"] is not None]
        trade.plot(
            [100 * point["saved"] for point in points], [100 * point["mean"] for point in points], ".-",
            color=COLOURS[number % len(COLOURS)], label=f"layer {row['layer']}",
        )  # fmt: skip
    for name, marker in (("chosen_on", "*"), ("checked_on", "D")):
        half = document[name]
        if half["difference"] is not None:
            edges = half["difference"]
            around = None
            if edges["low"] is not None:
                around = [[100 * (edges["mean"] - edges["low"])], [100 * (edges["high"] - edges["mean"])]]
            trade.errorbar(
                [100 * half["saved"]], [100 * edges["mean"]], yerr=around, fmt=marker, color="black", capsize=3,
                label=f"the choice, on the half it was {name.replace('_', ' ')}",
            )  # fmt: skip
    _finish(trade, "Every τ", "visual tokens' layers saved, %", "change in accuracy, points")
    return figure


def _title(what: str, document: dict[str, Any]) -> str:
    conditions = document["conditions"]
    asked = conditions["questions"]
    about = "one picture" if asked["pictures"] == 1 else f"{asked['pictures']} pictures"
    return f"{what}: {conditions['model']['id']}, {asked['questions']} questions about {about}"


def _interval(values: dict[str, Any]) -> str:
    return "" if values["low"] is None else f" [{values['low']:+.2f}, {values['high']:+.2f}]"


def _finish(panel: Axes, title: str, across: str, up: str, legend: bool = True) -> None:
    panel.set_title(title, fontsize=10)
    panel.set(xlabel=across, ylabel=up)
    if legend:
        panel.legend(fontsize=7.5)


FIGURES = {
    "migration": migration_figure,
    "horizon": horizon_figure,
    "redundancy": redundancy_figure,
    "calibrate": calibration_figure,
}
"""By instrument."""
