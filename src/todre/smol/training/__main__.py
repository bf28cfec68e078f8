"""The command line of training."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from todre.errors import TodreError
from todre.smol.base import find_base
from todre.smol.training.checkpoints import start_of
from todre.smol.training.export import export
from todre.smol.training.options import DTYPES, Options
from todre.smol.training.run import train, work
from todre.smol.training.stages import STAGES

_ALL = ("warm", "short", "places", "full", "weak", "counts", "firsts")
_EXPORT = "export"
_USED = {
    **dict.fromkeys(("base", "rank", "seed", "dtype"), _ALL),
    **dict.fromkeys(("minutes", "batch", "lr", "start", "processes"), tuple(STAGES)),
    **dict.fromkeys(("source", "output"), (_EXPORT,)),
}
"""The stages that use an option."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the options of the command line; those that were not given are left out."""
    parser = argparse.ArgumentParser(
        prog="python -m todre.smol.training", description=__doc__, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("stage", choices=[*_ALL, _EXPORT])
    parser.add_argument("--base", type=Path, help="folder of the decoder; by default what `todre smol fetch` got")
    parser.add_argument("--run", type=Path, required=True, help="directory of the run: checkpoints and logs")
    parser.add_argument("--minutes", type=float, help="length of the stage in minutes of training; 60 by default")
    parser.add_argument("--batch", type=int, help="pictures per step and process; 2 by default")
    parser.add_argument("--lr", type=float, help="peak rate of the low-rank updates; 0.001 by default")
    parser.add_argument("--rank", type=int, help="rank of the updates; 32 by default")
    parser.add_argument("--seed", type=int, help="seed of the run, the same for all its stages; 0 by default")
    parser.add_argument("--start", type=Path, help="part file that a new stage starts from")
    parser.add_argument("--processes", type=int, help="data-parallel processes (CPU, gloo); 1 by default")
    parser.add_argument("--dtype", choices=list(DTYPES), help="dtype of the decoder; bfloat16 by default")
    parser.add_argument("--source", choices=list(STAGES), help="export: which stage's checkpoint; firsts by default")
    parser.add_argument("--output", type=Path, help="export: part file to write")
    found = parser.parse_args(arguments)
    for name, stages in _USED.items():
        if name in found and found.stage not in stages:
            parser.error(f"--{name} is for {_listed(stages)}, and the stage is {found.stage}; leave it out")
    if found.stage == _EXPORT and "output" not in found:
        parser.error("export needs --output")
    if "start" in found and (found.run / f"{found.stage}.pt").exists():
        parser.error(
            f"{found.run} has a checkpoint of {found.stage}, which goes on; leave out --start or take another run"
        )
    return found


def _listed(words: tuple[str, ...]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def options_of(found: argparse.Namespace) -> Options:
    """The options of a stage.

    Raises:
        InvalidValueError: one of them cannot be used.
        LoadError: no decoder was named, and none is in the cache.
    """
    base = found.base if "base" in found else find_base().folder
    return Options(**{**vars(found), "base": base})


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    found = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if found.stage == _EXPORT:
            export(found.run / f"{getattr(found, 'source', 'firsts')}.pt", found.output)
        else:
            _train(options_of(found))
    except TodreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _train(options: Options) -> None:
    options.run.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        torch.set_num_threads(1)
        train(options)
        return
    start_of(options)  # in this process, so that what it refuses is one sentence
    options.run.joinpath(".rendezvous").unlink(missing_ok=True)
    spawn(work, args=(options,), nprocs=options.processes)


if __name__ == "__main__":
    sys.exit(main())
