"""The command line of training."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from todre.smol.base import find_base
from todre.smol.training.export import export
from todre.smol.training.run import DTYPES, Options, train, work
from todre.smol.training.stages import STAGES


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.smol.training", description=__doc__)
    parser.add_argument("stage", choices=["warm", "short", "places", "full", "export"])
    parser.add_argument("--base", type=Path, help="folder of the decoder; by default what `todre smol fetch` got")
    parser.add_argument("--run", type=Path, required=True, help="directory of the run: checkpoints and logs")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the stage in minutes of training")
    parser.add_argument("--batch", type=int, default=2, help="pictures per step and process")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak rate of the low-rank updates")
    parser.add_argument("--rank", type=int, default=32, help="rank of the updates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="part file that a new stage starts from")
    parser.add_argument("--processes", type=int, default=1, help="data-parallel processes (CPU, gloo)")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    parser.add_argument("--source", choices=list(STAGES), default="full", help="export: which stage's checkpoint")
    parser.add_argument("--output", type=Path, help="export: part file to write")
    found = parser.parse_args(arguments)
    if found.stage == "export" and found.output is None:
        parser.error("export needs --output")
    if found.stage != "export" and found.output is not None:
        parser.error(f"--output is for export, and the stage is {found.stage}; leave it out")
    if found.start is not None and found.stage not in STAGES:
        parser.error(f"--start is for {' and '.join(STAGES)}, and the stage is {found.stage}; leave it out")
    if found.start is not None and (found.run / f"{found.stage}.pt").exists():
        parser.error(
            f"{found.run} has a checkpoint of {found.stage}, which goes on; leave out --start or take another run"
        )
    return found


def _options(found: argparse.Namespace) -> Options:
    given = {name: value for name, value in vars(found).items() if name not in ("source", "output")}
    return Options(**{**given, "base": found.base or find_base().folder})


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    found = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if found.stage == "export":
        export(found.run / f"{found.source}.pt", found.seed, found.output)
        return
    options = _options(found)
    options.run.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        torch.set_num_threads(1)
        train(options)
        return
    options.run.joinpath(".rendezvous").unlink(missing_ok=True)
    spawn(work, args=(options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
