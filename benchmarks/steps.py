"""Commands whose results are committed, each run once: what `smol_evidence.py` and `budget_boards.py` are made of."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from todre import smol, tiny
from todre.files import new_folder, write_atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


@dataclass(frozen=True)
class Step:
    """One measurement.

    Attributes:
        words: of the command, after the Python that runs this; WORK stands for the step's own folder.
        made: files under that folder → names in results/.
        model: the model that it is about.
    """

    words: tuple[str, ...]
    made: Mapping[str, str]
    model: str = smol.SMOL


def weights(model: str) -> Path:
    """The file of weights that ships with a model."""
    return tiny.checkpoint_path(model) / "model.safetensors" if model in tiny.names() else smol.part_path(model)


def stamp(step: Step) -> str:
    """SHA-256 of a step's words and of its model's trained part."""
    return hashlib.sha256(json.dumps(step.words).encode() + weights(step.model).read_bytes()).hexdigest()


def run(name: str, step: Step, work: Path) -> int:
    """Run a step unless it is done; returns its exit code."""
    folder = work / name
    done = folder / "done"
    if done.exists() and done.read_text(encoding="utf-8") == stamp(step):
        print(f"{name} is done already")
        return 0
    new_folder(folder, parents=True)
    shown = os.path.relpath(folder, ROOT)  # results name their command
    words = [word.replace("WORK", shown) for word in step.words]
    print(f"{name}: {shlex.join(['python', *words])}", flush=True)
    begun = time.monotonic()
    code = subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode
    if code:
        return code
    for made, result in step.made.items():
        if (folder / made).exists():
            shutil.copyfile(folder / made, RESULTS / result)
    write_atomic(done, stamp(step))
    print(f"{name} took {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    return 0


def run_named(steps: Mapping[str, Step], what: str, work: Path, arguments: Sequence[str] | None = None) -> int:
    """Run the steps that a command line names, all without a name; returns the exit code of the first that failed.

    Args:
        what: the command's own words about itself.
        work: folder of unfinished work.
    """
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(steps)}")
    parser.add_argument("--work", type=Path, default=work, help="folder of unfinished work")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.steps if name not in steps]
    if unknown:
        parser.error(f"{unknown[0]} is no step; name some of {', '.join(steps)}.")
    for name in given.steps or steps:
        code = run(name, steps[name], given.work.resolve())
        if code:
            return code
    return 0
