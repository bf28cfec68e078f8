"""Clips, and families whose processors need torchvision, checked in a process that has a stand-in for it."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from geometry.stock import case_names

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, worker_id):
    """What `geometry.stock` found, by case; the first test process to come finds it for all."""
    if worker_id == "master":
        return found()
    shared = tmp_path_factory.getbasetemp().parent / "stock.json"
    with open(shared.with_suffix(".lock"), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not shared.exists():
            shared.write_text(json.dumps(found()))
    return json.loads(shared.read_text())


def found():
    """Runs every case in a process of its own."""
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
