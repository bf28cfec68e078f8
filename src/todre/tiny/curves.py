"""Draw the training curves of a run: `python -m todre.tiny.curves RUN OUTPUT.png`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from todre.files import atomic_path
from todre.tiny.runfiles import read_log
from todre.tiny.stages import STAGES

_PANELS: dict[str, tuple[str, ...]] = {
    "tower": ("kind", "colour", "size", "digit", "word", "centre", "cls_recall"),
    "decoder": tuple(f"accuracy/{task}" for task in ("presence", "colour", "shape", "size", "count")),
    "whole": tuple(f"accuracy/{task}" for task in ("presence", "colour", "shape", "size", "count")),
}
_MORE = tuple(f"accuracy/{task}" for task in ("relation", "quadrant", "digit", "word", "caption"))


def draw(run: Path, target: Path) -> None:
    """Draw the training curves of a run and write them as one picture.

    Each stage that has a log gets a panel: accuracy on training batches and the loss, over minutes of training.

    Args:
        run: directory of the run, with one log for each stage.
        target: picture to write; its suffix names the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    logs = {name: read_log(run / f"{name}.jsonl") for name in STAGES}
    present = {name: log for name, log in logs.items() if log}
    figure, axes = pyplot.subplots(1, len(present), figsize=(5 * len(present), 4), squeeze=False)
    for axis, (name, log) in zip(axes[0], present.items(), strict=True):
        _panel(axis, name, log)
    figure.tight_layout()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def _panel(axis: Any, name: str, log: list[dict[str, Any]]) -> None:
    keys = _PANELS.get(name, ())
    if name in ("decoder", "whole"):
        keys += _MORE
    for key in keys:
        points = [(record["seconds"] / 60, record[key]) for record in log if key in record]
        if points:
            axis.plot(*zip(*points, strict=True), label=key.removeprefix("accuracy/"), linewidth=1)
    twin = axis.twinx()
    twin.plot([r["seconds"] / 60 for r in log], [r["loss"] for r in log], color="black", linestyle=":", linewidth=1)
    twin.set_ylabel("loss (dotted)")
    axis.set(title=name, xlabel="minutes of training", ylabel="accuracy on training batches", ylim=(0, 1.02))
    if keys:
        axis.legend(fontsize=7, loc="lower right")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
