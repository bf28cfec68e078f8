"""`todre batch --ray` as a command of its own: killed, run again, and without a cluster."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch.with_ray.comparison import lines

from todre.batch.on_ray import LOCAL, on_ray
from todre.batch.run import run
from todre.errors import TodreError


def test_a_killed_run_goes_on(source, here, tmp_path):
    """`todre batch --ray local`, killed after its first rows, and run again."""
    output = tmp_path / "out.jsonl"
    todre_command = Path(sys.executable).with_name("todre")
    words = ["batch", source.file, "--output", output, "--retain", "0.2", "--max-new-tokens", "6", "--device", "cpu",
             "--ray", LOCAL, "--workers", "1", "-q"]  # fmt: skip
    command = [str(todre_command), *map(str, words)]
    started = subprocess.Popen(command, start_new_session=True)
    waited = time.monotonic()
    while not (output.exists() and output.read_bytes().count(b"\n") > 2) and time.monotonic() - waited < 240:
        time.sleep(0.05)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    kept = output.read_bytes().count(b"\n")
    assert kept > 2
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1  # one picture is not there
    assert lines(output) == lines(here)


def test_a_cluster_that_is_not_there(source, answering, tmp_path):
    with pytest.raises(TodreError, match="no Ray cluster at auto"):
        run(source, tmp_path / "out.jsonl", answering.conditions(), on_ray(source, answering, "auto"))
