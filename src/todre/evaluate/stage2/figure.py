"""The figure of a study: accuracy and attention by layer (ToDRE, figures 2 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from todre.evaluate.tasks.scenes import PREFIX
from todre.plots.label_places import style
from todre.plots.lines import BLUE, GREEN, GREY, ORANGE, PINK, RED, legend_below, line, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = (
    ("drop", BLUE, "o-", "picture leaves after the layer"),
    ("delete", RED, "s--", "later layers are skipped"),
    ("hide", GREEN, "^-", "text does not see it in this layer"),
    ("skip", ORANGE, "v--", "this layer is skipped"),
)


def figure(document: dict[str, Any]) -> Figure:
    """Figure with accuracy by change, attention by layer, and the drop by task.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    drawing, (changes, attention, tasks) = panels(3, _title(document), height=4.9)
    whole, blind = document["whole"]["value"], document["blind"]["value"]
    for kind, colour, look, label in _KINDS:
        points = document["curves"][kind]
        line(
            changes, [each["layer"] for each in points], [each["score"] for each in points], colour, label, "value",
            100, look,
        )  # fmt: skip
    for value, label in ((whole, "whole model"), (blind, "grey picture")):
        changes.axhline(100 * value, color=GREY, linestyle="-" if value == whole else ":", label=label)
    _attention(attention, document["ratios"][0]["layers"])
    for place, task in enumerate(document["tasks"]):
        shape = style(place)
        points = [each["score"]["tasks"][task] | {"low": None} for each in document["curves"]["drop"]]
        layers = [each["layer"] for each in document["curves"]["drop"]]
        line(
            tasks,
            layers,
            points,
            shape["color"],
            task.removeprefix(PREFIX),
            "value",
            100,
            f"{shape['marker']}{shape['linestyle']}",
        )
    titles = ("Accuracy by layer", "Attention to the picture (figures 2, 5)", "Picture leaves after the layer, by task")
    for panel, title in zip((changes, attention, tasks), titles, strict=True):
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("decoder layer")
        panel.set_ylabel("attention, %" if panel is attention else "accuracy, %")
        panel.set_ylim(-2, 102)
        panel.grid(axis="y", color="#EEEEEE")
    legend_below(changes)
    legend_below(attention)
    legend_below(tasks, columns=2)
    return drawing


def _attention(panel: Axes, layers: list[dict[str, Any]]) -> None:
    places = [each["layer"] for each in layers]
    line(panel, places, [each["text"] for each in layers], BLUE, "all text after it", "value", 100)
    line(panel, places, [each["last"] for each in layers], PINK, "the last text token", "value", 100, "s--")
    if all("generated" in each for each in layers):
        line(panel, places, [each["generated"] for each in layers], ORANGE, "generated tokens", "value", 100, "^-")
    least, most = ([100 * each["text"][edge] for each in layers] for edge in ("least", "most"))
    panel.fill_between(places, least, most, color=BLUE, alpha=0.08, linewidth=0, label="all text, least to most")
    for threshold in layers[0]["text"]["below"]:
        panel.axhline(100 * float(threshold), color=GREY, linewidth=0.7, linestyle=":")


def _title(document: dict[str, Any]) -> str:
    model = document["conditions"]["model"]["id"]
    return f"{model}: {document['questions']} questions about {document['pictures']} pictures"
