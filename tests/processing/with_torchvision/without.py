"""Run a module in a process that has everything this one has, but torchvision."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]


def run_without_torchvision(module, *arguments):
    """`python -m module arguments…`, with every folder that holds torchvision taken off the path."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [folder for folder in inherited if folder and not (Path(folder) / "torchvision").exists()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *kept])}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
