"""Draw a run's curves: `python -m todre.smol.training.curves RUN OUTPUT.png`."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from todre.files import atomic_path
from todre.smol.training.stages import STAGES
from todre.tiny.runfiles import read_log


def draw(run: Path, target: Path) -> None:
    """Draw accuracy by task and the loss over minutes, a panel for each stage.

    Accuracies are running means on training pictures before they were learned from; each is shown once.

    Args:
        run: directory of the run, with one log for each stage.
        target: picture to write; its suffix names the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    logs = {name: read_log(run / f"{name}.jsonl") for name in STAGES if (run / f"{name}.jsonl").exists()}
    figure, axes = pyplot.subplots(1, len(logs), figsize=(6 * len(logs), 4.5), squeeze=False)
    for axis, (name, log) in zip(axes[0], logs.items(), strict=True):
        _panel(axis, name, log)
    figure.tight_layout()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def _panel(axis: Any, name: str, log: list[dict[str, Any]]) -> None:
    from matplotlib import colormaps

    shades = itertools.cycle(colormaps["tab20"](index) for index in range(20))
    for key in sorted({key for record in log for key in record if key.startswith("train/")}):
        points = smoothed([(record["seconds"] / 60, record[key]) for record in log if key in record])
        axis.plot(*zip(*points, strict=True), label=key.removeprefix("train/"), linewidth=1.2, color=next(shades))
    twin = axis.twinx()
    losses = smoothed([(record["seconds"] / 60, record["loss"]) for record in log if "loss" in record])
    twin.plot(*zip(*losses, strict=True), color="black", linestyle=":", linewidth=1)
    twin.set_ylabel("loss (dotted)")
    axis.set(title=name, xlabel="minutes of training", ylabel="accuracy on new training pictures", ylim=(0, 1.02))
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=6, frameon=False)


def smoothed(points: list[tuple[float, float]], window: int = 8) -> list[tuple[float, float]]:
    """Points whose values are means of up to `window` values that end there."""
    values = [value for _, value in points]
    means = [sum(values[max(0, k - window + 1) : k + 1]) / min(k + 1, window) for k in range(len(values))]
    return [(place, mean) for (place, _), mean in zip(points, means, strict=True)]


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
