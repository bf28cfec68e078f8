"""The figure of `todre analyze guard`: what is lost by pictures left whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from todre.plots.lines import COLOURS, GREY, RED, legend_below, line, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def guard_figure(document: dict[str, Any]) -> Figure:
    """Figure of the change in score at every threshold of each signal."""
    questions = document["conditions"]["questions"]["questions"]
    figure, (panel,) = panels(1, f"The guard: {document['conditions']['model']['id']}, {questions} questions", 5.0)
    for colour, (name, curve) in zip(COLOURS, document["signals"].items(), strict=False):
        points = curve["points"]
        line(panel, [100 * each["whole"] for each in points], [each["difference"] for each in points], colour, name,
             scale=100)  # fmt: skip
    panel.axhline(-100 * document["loss_allowed"], color=RED, linestyle=":", label="loss allowed")
    panel.axhline(0, color=GREY, linewidth=0.8)
    panel.set(xlabel="pictures left whole, %", ylabel="change in score against no pruning, points")
    legend_below(panel, 4)
    return figure
