"""Figures of a `todre bench` document; None where the document lacks numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.plots.lines import BLUE, COLOURS, GREEN, GREY, ORANGE, PINK, SKY, panels
from todre.plots.marks import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
_PARTS = (("encode", "encode", BLUE), ("select", "select", ORANGE), ("prefill", "prefill", GREEN))
_MOST_LINES = 9


def breakdown_figure(document: dict[str, Any]) -> Figure | None:
    """Figure of the parts of each subject's time, in the first and the last cell."""
    cells = _cells(document)
    shown = [cells[0], cells[-1]] if len(cells) > 1 else cells
    figure, axes = panels(len(shown), _title("Where the time goes", document), 1.9 + 0.3 * len(cells[0]))
    for panel, rows in zip(axes, shown, strict=True):
        names = [row["subject"] for row in rows]
        left = [0.0] * len(rows)
        for label, colour, values in _parts(rows):
            panel.barh(names, values, left=left, color=colour, label=label, height=0.72)
            left = [start + value for start, value in zip(left, values, strict=True)]
        for name, total in zip(names, left, strict=True):
            panel.annotate(
                _milliseconds(total), (total, name), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.tick_params(axis="y", labelsize=9)
        _finish(panel, _under(rows[0]), "milliseconds (medians)", "", legend=False)
    handles, labels = max((panel.get_legend_handles_labels() for panel in axes), key=lambda found: len(found[1]))
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    return figure


def speed_up_figure(document: dict[str, Any]) -> Figure | None:
    """Figure of speed-up against the share of visual tokens kept."""
    rows = _cells(document)[0]
    lines = _by_method(rows)
    if all(len({_share(row) for row in points}) < 2 for points in lines.values()):
        return None
    figure, axes = panels(2, _title("Speed-up against visual tokens kept", document), 4.2)
    for panel, key, title in zip(axes, ("first_token", "total"), ("To the first token", "Whole answer"), strict=True):
        for number, (name, points) in enumerate(list(lines.items())[:_MOST_LINES]):
            colour = COLOURS[number % len(COLOURS)]
            for kind, style in (("method", "o-"), ("oracle", "s:")):
                mine = sorted((_share(row), row["ratio_to_none"][key]) for row in points if row["kind"] == kind)
                if mine:
                    shares = [100 * share for share, _ in mine]
                    label = name if kind == "method" else f"{name}: hand-shortened prompt"
                    centre = [1 / spread["p50"] for _, spread in mine]
                    panel.plot(shares, centre, style, color=colour, label=label, markersize=4)
                    low, high = ([1 / spread[edge] for _, spread in mine] for edge in ("p80", "p20"))
                    panel.fill_between(shares, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.axhline(1, color=GREY, linewidth=0.8)
        panel.set_ylim(bottom=0)
        _finish(panel, title, "visual tokens kept, mean over layers, %", "times as fast as no pruning")
    return figure


def length_figure(document: dict[str, Any]) -> Figure | None:
    """Figure of time and speed-up by answer length, for the longest cell."""
    rows = max(_cells(document), key=lambda rows: rows[0]["cell"]["new_tokens"])
    if rows[0]["cell"]["new_tokens"] < 2:
        return None
    figure, (absolute, relative) = panels(2, _title("Time against the length of the answer", document), 4.2)
    shown = [row for row in rows if row["kind"] != "oracle"][:_MOST_LINES]
    for number, row in enumerate(shown):
        colour = "black" if row["kind"] == "none" else COLOURS[(number - 1) % len(COLOURS)]
        lengths = [int(count) for count in row["ms_after_tokens"]]
        seconds = [spread["p50"] / 1000 for spread in row["ms_after_tokens"].values()]
        absolute.plot(lengths, seconds, "o-", color=colour, label=row["subject"], markersize=4)
        none = _none_of(document, row)["ms_after_tokens"]
        times = [none[str(count)]["p50"] / row["ms_after_tokens"][str(count)]["p50"] for count in lengths]
        relative.plot(lengths, times, "o-", color=colour, label=row["subject"], markersize=4)
    for panel in (absolute, relative):
        panel.set_xscale("log", base=2)
        panel.set_xticks(lengths, [str(length) for length in lengths])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
    _finish(absolute, _under(rows[0]), "tokens of the answer", "seconds (medians)")
    _finish(relative, "Speed-up", "tokens of the answer", "times as fast as no pruning", legend=False)
    return figure


def memory_figure(document: dict[str, Any]) -> Figure | None:
    """Figure of a call's peak memory and KV cache, for the first cell."""
    rows = _cells(document)[0]
    if any(row["peak_bytes"] is None for row in rows):
        return None
    figure, axes = panels(2, _title("Memory", document), 1.7 + 0.3 * len(rows))
    names = [row["subject"] for row in rows]
    values = (
        ("Peak of the call, beyond weights and inputs", [row["peak_bytes"]["above"] for row in rows]),
        ("KV cache at its end", [row["kv_bytes"]["measured"] for row in rows]),
    )
    colours = {"none": GREY, "method": BLUE, "oracle": SKY}
    for panel, (title, bytes_) in zip(axes, values, strict=True):
        mebi = [value / 2**20 for value in bytes_]
        panel.barh(names, mebi, color=[colours[row["kind"]] for row in rows], height=0.72)
        for name, value in zip(names, mebi, strict=True):
            panel.annotate(
                f"{value:.4g}", (value, name), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.tick_params(axis="y", labelsize=9)
        _finish(panel, title, "MiB", "", legend=False)
    axes[1].set_yticklabels([])
    return figure


FIGURES = {
    "breakdown": breakdown_figure,
    "speed-up": speed_up_figure,
    "length": length_figure,
    "memory": memory_figure,
}
"""Functions that draw figures, by the end of the figure's file name."""


def files_of(folder: Path, prefix: str = "bench") -> list[Path]:
    """The files that `draw_all` may write."""
    return [folder / f"{prefix}-{name}.png" for name in FIGURES]


def draw_all(document: dict[str, Any], folder: Path, prefix: str = "bench") -> Iterator[Path]:
    """Write each figure for which the document has numbers; yield the files."""
    if not document["rows"]:
        return
    for draw, file in zip(FIGURES.values(), files_of(folder, prefix), strict=True):
        figure = draw(document)
        if figure is not None:
            save_figure(figure, file)
            yield file


def _cells(document: dict[str, Any]) -> list[list[Row]]:
    """The rows of each cell, in order.

    Methods that were measured in groups come together, behind the first group's row without pruning.
    """
    cells: dict[str, list[Row]] = {}
    for asked in document["finished"]:
        mine = [row for row in document["rows"] if row["asked"] == asked]
        found = cells.setdefault(repr({name: value for name, value in asked.items() if name != "group"}), [])
        found += [row for row in mine if not found or row["kind"] != "none"]
    return list(cells.values())


def _none_of(document: dict[str, Any], row: Row) -> Row:
    """The row without pruning that was measured beside `row`."""
    return next(each for each in document["rows"] if each["kind"] == "none" and each["asked"] == row["asked"])


def _parts(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[float]]]:
    """Parts of the call: (label, colour, milliseconds of each subject)."""
    known = [0.0] * len(rows)
    for key, label, colour in _PARTS:
        values = [row["ms"][key]["p50"] for row in rows]
        known = [before + value for before, value in zip(known, values, strict=True)]
        yield label, colour, values
    decode = [row["ms"]["decode_per_token"] for row in rows]
    steps = [row["cell"]["new_tokens"] - 1 for row in rows]
    values = [0.0 if one is None else one["p50"] * count for one, count in zip(decode, steps, strict=True)]
    if any(values):
        yield "decode", PINK, values
    whole = [row["ms"]["total"]["p50"] for row in rows]
    rest = [max(0.0, total - a - b) for total, a, b in zip(whole, known, values, strict=True)]
    yield "between", GREY, rest


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each method and its oracles, by the method's name without a budget."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] != "none":
            found.setdefault((row["of"] or row["subject"]).partition("@")[0], []).append(row)
    return found


def _share(row: Row) -> float:
    tokens = row["visual_tokens"]
    return float(sum(tokens["per_layer"]) / len(tokens["per_layer"]) / tokens["before"])


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _under(row: Row) -> str:
    """Text of a cell's conditions, in one line."""
    cell = row["cell"]
    threads = f"{cell['threads']} thread{'s' if cell['threads'] > 1 else ''}"
    tokens = f"{row['visual_tokens']['before']} visual tokens, {cell['new_tokens']} new"
    return f"batch {cell['batch']}, {tokens}, {cell['backend']}, {threads}"


def _title(what: str, document: dict[str, Any]) -> str:
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    return f"{what}: {model['name']}, {model['dtype']}\n{where}"


def _finish(panel: Axes, title: str, across: str, up: str, legend: bool = True) -> None:
    panel.set_title(title, fontsize=9.5)
    panel.set(xlabel=across, ylabel=up)
    if legend:
        panel.legend(fontsize=9)
