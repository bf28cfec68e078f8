"""A run that is killed at random moments: nothing is lost, nothing done twice, no process stays behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from batch.stubs import read_rows, rows, write_rows

HERE = Path(__file__).parent


@pytest.mark.parametrize("processes", [0, 2])
def test_killed_at_random_moments(tmp_path, processes):
    source, log = write_rows(tmp_path / "rows.jsonl", rows(80)), tmp_path / "log"
    paths = os.pathsep.join([str(HERE.parent), *sys.path])

    def started(output):
        words = [sys.executable, HERE / "killed.py", source, output, log, str(processes)]
        return subprocess.Popen([str(word) for word in words], env={**os.environ, "PYTHONPATH": paths})

    def finished(output):
        assert started(output).wait(60) == 0
        return read_rows(output)

    whole = finished(tmp_path / "whole.jsonl")
    log.unlink()
    output, chance = tmp_path / "out.jsonl", random.Random(processes)
    kept = 0
    for _ in range(3):
        run = started(output)
        waited = time.monotonic()
        while not _grown(output, kept) and time.monotonic() - waited < 30:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        kept = output.read_bytes().count(b"\n")
    if processes:
        time.sleep(0.5)  # processes without a parent have ended
        begun = log.stat().st_size
        time.sleep(0.3)
        assert log.stat().st_size == begun
    assert 0 < kept < 80
    found = finished(output)
    assert sorted(found, key=str) == sorted(whole, key=str)
    begun = Counter(line.rpartition(" ")[0] for line in log.read_text().splitlines())
    assert set(begun) == {row["id"] for row in rows(80)}
    assert sum(begun.values()) <= 80 + 3 * max(processes, 1)  # a row that a kill cut short is begun again


def _grown(output, kept):
    return output.exists() and output.read_bytes().count(b"\n") > kept
