"""Figure of a `todre bench --serve` document, by the number of clients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.plots.lines import COLOURS, panels
from todre.plots.marks import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
FILE = "bench-serve.png"


def load_figure(document: dict[str, Any]) -> Figure | None:
    """Figure with a line for each configuration; None if nothing was measured."""
    rows = [row for row in document["rows"] if not row["cell"]["soak"]]
    if not rows:
        return None
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    tokens = f", {model['visual_tokens']:,} visual tokens" if model["visual_tokens"] else ""
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    # A server tells its own unit, and what todre's tells is the cache of its largest answer, not of all that run.
    units = {"share" in row["peak_kv"] for row in rows if row["peak_kv"] is not None}
    told = len(units) == 1
    title = f"Served under load: {model['name']}, {model['dtype']}{tokens}\n{where}"
    figure, axes = panels(3 if told else 2, title, 4.2)
    _lines(axes[0], rows, _rate, "Throughput", "requests per second")
    _lines(axes[1], rows, _first, "Time to the first token", "seconds (medians)")
    if told:
        what = ("Peak of the KV cache", "% of the server's") if True in units else ("KV of the largest answer", "MiB")
        _lines(axes[2], rows, _kv, *what)
    axes[0].legend(fontsize=9)
    return figure


def draw_load(document: dict[str, Any], folder: Path) -> Path | None:
    """Write the figure into a folder; the file, or None if there is nothing to draw."""
    figure = load_figure(document)
    if figure is None:
        return None
    save_figure(figure, folder / FILE)
    return folder / FILE


def _lines(panel: Axes, rows: list[Row], value: Callable[[Row], float | None], title: str, up: str) -> None:
    clients = sorted({row["cell"]["concurrency"] for row in rows})
    for number, name in enumerate(dict.fromkeys(row["configuration"] for row in rows)):
        known = [
            (row["cell"]["concurrency"], found)
            for row in rows
            if row["configuration"] == name and (found := value(row)) is not None
        ]
        colour = "black" if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        panel.plot([x for x, _ in known], [y for _, y in known], "o-", color=colour, label=name, markersize=4)
    panel.set_xscale("log", base=2)
    panel.set_xticks(clients, [str(count) for count in clients])
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    panel.set_title(title, fontsize=9.5)
    panel.set(xlabel="clients at once", ylabel=up)


def _rate(row: Row) -> float | None:
    return None if row["requests_per_second"] is None else float(row["requests_per_second"]["p50"])


def _first(row: Row) -> float | None:
    first = row["ms"]["first_token"]
    return None if first is None else float(first["p50"]) / 1000


def _kv(row: Row) -> float | None:
    peak = row["peak_kv"]
    if peak is None:
        return None
    return 100 * float(peak["share"]) if "share" in peak else float(peak["bytes"]) / 2**20
