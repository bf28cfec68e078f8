"""Figure of `todre reproduce`: radars of the paper's shares and of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from todre.plots import require_matplotlib
from todre.plots.lines import COLOURS, GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHO = (("published", "paper"), ("measured", "here"))


def radars_figure(result: Mapping[str, Any]) -> Figure:
    """Figure of two radars: an axis for each benchmark, a line for each method.

    The left radar has the paper's shares of no pruning (ToDRE, figure 3), the right radar has the shares of `result`.
    Both have one scale.

    Args:
        result: a result of `todre reproduce`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    names = list(result["benchmarks"])
    rows = [row for row in result["rows"] if row["method"] not in (None, "none")]
    inner, outer = _range(rows, names)
    angles = [2 * math.pi * place / len(names) for place in range(len(names))]
    figure = Figure(figsize=(11, 5.8), layout="constrained", dpi=110)
    figure.suptitle(f"{result['title']}: % of no pruning", fontsize=11)
    for place, (which, who) in enumerate(_WHO):
        panel: Any = figure.add_subplot(1, 2, place + 1, projection="polar")
        for number, row in enumerate(rows):
            points = [row["shares"][name][which] for name in names]
            known = [(angle, value) for angle, value in zip(angles, points, strict=True) if value is not None]
            if known:
                closed = [*known, known[0]] if len(known) == len(names) else known
                panel.plot(*zip(*closed, strict=True), "o-", color=COLOURS[number % len(COLOURS)], markersize=3,
                           label=row["label"])  # fmt: skip
        panel.plot([step * math.pi / 60 for step in range(121)], [100] * 121, ":", color=GREY, label="no pruning")
        panel.set_ylim(inner, outer)
        panel.set_xticks(
            angles, names if which == "published" else [_below(result, name) for name in names], fontsize=8
        )
        panel.set_title(f"{who}: {result['model']}" if which == "measured" else who, fontsize=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _range(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[float, float]:
    """Range of the axes: from below the least share to above the greatest, with 100 %."""
    values = [row["shares"][name][which] for row in rows for name in names for which, _ in _WHO]
    known = [100.0, *(value for value in values if value is not None)]
    return 5 * math.floor((min(known) - 3) / 5), 5 * math.ceil((max(known) + 1) / 5)


def _below(result: Mapping[str, Any], name: str) -> str:
    """Two lines: the benchmark, and the first words on its measured questions."""
    return f"{name}\n{str(result['benchmarks'][name]).split(',')[0].split(' of ')[0]}"
