"""How a worker process ends: as if its work was done, whenever it is told."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WORKER = """
import atexit, os, signal, sys, time
from todre.evaluate.workers import ended_normally
atexit.register(os.write, 1, b"released")
if sys.argv[2] == "late":
    atexit.register(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.05)))
with ended_normally():
    if sys.argv[1] == "told":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without a signal")
@pytest.mark.parametrize("again", ["once", "late"])
@pytest.mark.parametrize("way", ["told", "done"])
def test_a_worker_that_is_told_to_end_while_it_ends_says_nothing(way, again):
    found = subprocess.run([sys.executable, "-c", WORKER, way, again], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout, found.stderr) == (0, "released", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without a signal")
def test_before_and_after_the_block_are_as_said():
    script = "import signal\nfrom todre.evaluate.workers import ended_normally\nwith ended_normally(): pass\n"
    script += "print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert found.stdout == "True\n"
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
