"""The model card's figure: tasks, random pruning, attention and depth by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from todre.plots import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def figure(document: dict[str, Any]) -> Figure:
    """Draw the card's four panels.

    Args:
        document: the card's JSON document.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 8), layout="constrained", dpi=110)
    panels = drawing.subplots(2, 2)
    _tasks(panels[0, 0], document)
    _random(panels[0, 1], document)
    _attention(panels[1, 0], document)
    _depth(panels[1, 1], document)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.title.set_fontsize(11)
    return drawing


def _tasks(panel: Axes, document: dict[str, Any]) -> None:
    tasks = document["tasks"]
    places = np.arange(len(tasks))
    scores = np.array([100 * values["score"] for values in tasks.values()])
    errors = np.array([[100 * (v["score"] - v["low"]), 100 * (v["high"] - v["score"])] for v in tasks.values()]).T
    panel.bar(
        places, scores, yerr=errors.clip(min=0), color="#74ADD1", capsize=3, width=0.7, label="accuracy, 95 % interval"
    )
    majority = [100 * values["majority"]["score"] for values in tasks.values()]
    blind = [100 * values["blind"]["score"] for values in tasks.values()]
    panel.plot(places, majority, "_", color="black", markersize=20, markeredgewidth=2, label="best constant answer")
    panel.plot(places, blind, "o", color=ORANGE, markersize=5, label="grey picture")
    panel.set_xticks(places, list(tasks), rotation=35, ha="right")
    panel.set(ylim=(0, 122), yticks=range(0, 101, 20), ylabel="accuracy, %", title="Held-out questions by task")
    panel.legend(fontsize=9, loc="upper center", ncols=3, columnspacing=0.8, handlelength=1.4, frameon=False)


def _random(panel: Axes, document: dict[str, Any]) -> None:
    points = [{"visual_tokens": document["visual_tokens"][0]["tokens"], **document["all"]}, *document["random"]]
    _curve(panel, [point["visual_tokens"] for point in points], points, BLUE, "random tokens kept")
    panel.axhline(100 * document["blind"]["score"], color=GREY, linestyle=":", label="grey picture")
    panel.set_xscale("log")
    counts = [point["visual_tokens"] for point in points]
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.minorticks_off()
    panel.set(
        xlabel="visual tokens kept", ylabel="accuracy over all tasks, %", title="Random pruning before the decoder"
    )
    panel.legend(fontsize=9.5)


def _attention(panel: Axes, document: dict[str, Any]) -> None:
    layers = document["attention"]["layers"]
    panel.plot(
        [point["layer"] for point in layers],
        [100 * point["text_to_visual"] for point in layers],
        "o-",
        color=GREEN,
        label="mean over the text after the picture",
    )
    panel.axhline(
        100 * document["attention"]["uniform"], color=GREY, linestyle=":", label="share of the prompt's tokens"
    )
    panel.set(ylim=(0, 105), xlabel="decoder layer", ylabel="attention to the picture, %", title="Attention by layer")
    panel.legend(fontsize=9.5)


def _depth(panel: Axes, document: dict[str, Any]) -> None:
    layers = [point["layer"] for point in document["depth"]["layers"]]
    drop = [point["drop"] for point in document["depth"]["layers"]]
    delete = [point["delete"] for point in document["depth"]["layers"]]
    _curve(panel, layers, drop, BLUE, "picture dropped after the layer")
    _curve(panel, layers, delete, ORANGE, "all layers after it deleted")
    panel.set(
        xlabel="decoder layers before",
        ylabel="accuracy over all tasks, %",
        title="Is depth used, and until where for vision",
    )
    panel.legend(fontsize=9.5)


def _curve(panel: Axes, places: list[int], points: list[dict[str, Any]], colour: str, label: str) -> None:
    panel.plot(places, [100 * point["score"] for point in points], "o-", color=colour, label=label)
    low, high = [100 * point["low"] for point in points], [100 * point["high"] for point in points]
    panel.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
