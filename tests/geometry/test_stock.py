"""Clips, and families whose processors need torchvision, checked in a process that has a stand-in for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from geometry.stock import case_names

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def outcomes():
    """What `geometry.stock` found, by case."""
    folders = [str(TESTS), str(TESTS / "geometry" / "stub"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, "-m", "geometry.stock"]
    run = subprocess.run(command, env=environment, cwd=TESTS, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return {line["case"]: line for line in lines}


@pytest.mark.parametrize("name", case_names())
def test_boxes_are_where_the_pixels_come_from(outcomes, name):
    assert "error" not in outcomes[name], outcomes[name]["error"]
    assert outcomes[name]["tokens"] >= 2
