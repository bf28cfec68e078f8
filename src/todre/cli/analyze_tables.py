"""Tables of `todre analyze`: the main numbers of each document."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich import box
from rich.table import Table

from todre.cli.console import show, show_text

Document = dict[str, Any]


def show_migration(document: Document) -> None:
    """Show attention from text and from generated tokens, by layer."""
    table = _table("layer", "text → visual", "visual → text", "text → text", "generated → visual", "generated → text")
    for row in document["layers"]:
        prefill, decode = row["prefill"], row["decode"]
        values = [prefill[f"{a}_to_{b}"] for a, b in (("text", "visual"), ("visual", "text"), ("text", "text"))]
        table.add_row(str(row["layer"]), *(_percent(value) for value in (*values, decode["visual"], decode["text"])))
    show(table)


def show_horizon(document: Document) -> None:
    """Show each task's horizon, and the information left after two layers.

    The two layers are the first and the last that were measured; the largest information is shown for each.
    """
    table = _table("task", "questions", "horizon", "all tokens together", "largest, first layer", "largest, last layer")
    for name, values in document["tasks"].items():
        largest = values["largest"]
        horizons = [_layer(values[kind]) for kind in ("horizon", "horizon_all_together")]
        table.add_row(name, str(values["questions"]), *horizons, _number(largest[0]), _number(largest[-1]))
    show(table)
    show_text(f"Information of at most {document['tolerance']:g} counts as none.")


def show_redundancy(document: Document) -> None:
    """Show how redundancy within vision correlates with that across modalities."""
    table = _table("ρ", "over questions", "over tokens, Pearson", "over tokens, Spearman")
    for name, values in document["cross_modal"].items():
        tokens = values["over_tokens"]
        table.add_row(
            name, _number(values["over_questions"], "r"), _number(tokens["pearson"]), _number(tokens["spearman"])
        )
    show(table)
    inside, chance = document["overlap"]["mean"], document["overlap_of_chance"]["mean"]
    show_text(
        f"Vision within the span of the text: {inside:.1%} (a random direction {chance:.1%}, the paper assumes 0)."
    )


def show_calibration(document: Document, find: str = "pair") -> None:
    """Show the chosen layer and τ, and what they cost and save on both halves.

    Args:
        document: the document of the calibration.
        find: what the written method is: `pair`, or `horizon`.
    """
    method = document["method"]
    if not document["found"]:
        show_text(f"No layer and τ keep the loss within {document['loss_allowed']:g}: stage 2 stays off.")
    else:
        show_text(
            f"Stage 2 after layer {method['layers'][0]} of {document['decoder_layers']}, τ = {method['threshold']:g}"
        )
    unmeasured = document.get("unmeasured", {})
    if unmeasured and find == "pair":
        named = " and ".join(f"{name}={value}" for name, value in unmeasured.items())
        show_text(f"It was measured, and is written, without {named} of the given method.")
    table = _table("half", "questions", "without stage 2", "changed by stage 2", "dropped", "layers saved")
    for name in ("chosen_on", "checked_on"):
        half = document[name]
        changed = "–" if half["difference"] is None else _percent(half["difference"], sign=True)
        saved = f"{100 * half['saved']:.1f} %"
        fired = f"{100 * half['fired']:.1f} %"
        alone = _percent(half["stage_1_alone"])
        table.add_row(name.replace("_", " "), str(half["questions"]), alone, changed, fired, saved)
    show(table)
    _say_whether_confirmed(document)
    _show_drop_horizon(document)


def _show_drop_horizon(document: Document) -> None:
    """Show each task's horizon, and the candidate layers that are left."""
    measured = document["horizon"]
    table = _table("task", "questions", "horizon", "always dropped there")
    for name, task in measured["tasks"].items():
        there = next((point for point in task["layers"] if point["layer"] == task["horizon"]), None)
        changed = "–" if there is None else _percent(there, sign=True)
        table.add_row(name, str(task["questions"]), _layer(task["horizon"]), changed)
    show(table)
    if measured["horizon"] is None:
        show_text("No horizon for every task within the loss: without it, stage 2 stays off.")
        return
    left = tuple(measured["left"])
    show_text(
        f"horizon={measured['horizon']}: of the candidates {tuple(measured['candidates'])}, layers={left} are left."
    )


def _say_whether_confirmed(document: Document) -> None:
    if document["found"] and not document["confirmed"]:
        low = document["checked_on"]["difference"]["low"]
        reach = "has no interval" if low is None else f"reaches {100 * low:+.1f} %"
        show_text(f"Not confirmed: on the half it was not chosen on the change {reach}. Ask more questions.")


def show_guard(document: Document) -> None:
    """Show each signal's correlation with the loss, and the chosen guard's effect."""
    table = _table("signal", "pictures", "correlation with the loss")
    for name, values in document["signals"].items():
        with_loss = "–" if values["correlation"] is None else _number(values["correlation"], "r")
        table.add_row(name, str(values["known"]), with_loss)
    show(table)
    signal = document["signal"]
    show_text(f"Leave a picture whole where {signal} is above {document['guard'][signal]:.4g}")
    table = _table("half", "questions", "left whole", "tokens kept", "change unguarded", "change guarded")
    for name in ("chosen_on", "checked_on"):
        half = document[name]
        shares = (f"{100 * half[key]:.1f} %" for key in ("whole", "kept"))
        changes = (_percent(half[key], sign=True) for key in ("unguarded", "difference"))
        table.add_row(name.replace("_", " "), str(half["questions"]), *shares, *changes)
    show(table)
    if not document["confirmed"]:
        low = document["checked_on"]["difference"]["low"]
        reach = "has no interval" if low is None else f"reaches {100 * low:+.1f} %"
        show_text(f"Not confirmed: on the half it was not chosen on the change {reach}. Ask more questions.")


def show_kept(document: Document) -> None:
    """Show how far methods agree on the tokens that they keep."""
    asked = len(document["records"])
    panels = [pair for record in document["records"] for pair in record["panels"].items()]
    refused = Counter((name, panel["refused"]) for name, panel in panels if "refused" in panel)
    for (name, reason), times in refused.items():
        show_text(f"{name}: {reason}" if times == asked else f"{name}, {times} of {asked} questions: {reason}")
    table = _table("methods", "tokens in common (Jaccard)")
    for pair, share in document["overlap"].items():
        table.add_row(pair, f"{share:.2f}")
    show(table)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _layer(layer: int | None) -> str:
    return "not reached" if layer is None else f"layer {layer}"


def _percent(value: Document, sign: bool = False) -> str:
    if value["mean"] is None:
        return "–"
    form = "+.1f" if sign else ".1f"
    around = "" if value["low"] is None else f" [{100 * value['low']:{form}}, {100 * value['high']:{form}}]"
    return f"{100 * value['mean']:{form}} %{around}"


def _number(value: Document, key: str = "mean") -> str:
    if value[key] is None:
        return "–"
    around = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value[key]:.3f}{around}"
