"""The command line of training."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from todre.smol.training.run import DTYPES, Options, train, work
from todre.smol.training.stages import STAGES


def parse(arguments: list[str] | None = None) -> Options:
    """Parse the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m todre.smol.training", description=__doc__)
    parser.add_argument("stage", choices=["warm", *STAGES])
    parser.add_argument("--base", type=Path, required=True, help="folder of the decoder's weights and tokenizer")
    parser.add_argument("--run", type=Path, required=True, help="directory of the run: checkpoints and logs")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the stage in minutes of training")
    parser.add_argument("--batch", type=int, default=2, help="pictures per step and process")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak rate of the low-rank updates")
    parser.add_argument("--rank", type=int, default=32, help="rank of the updates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="data-parallel processes (CPU, gloo)")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    found = parser.parse_args(arguments)
    return Options(**vars(found))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.run.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        torch.set_num_threads(1)
        train(options)
        return
    options.run.joinpath(".rendezvous").unlink(missing_ok=True)
    spawn(work, args=(options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
