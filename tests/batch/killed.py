"""A run with the stub, to be killed: python killed.py ROWS OUTPUT LOG PROCESSES."""

import sys
from pathlib import Path

from batch.stubs import Stub

from todre.batch.processes import in_processes
from todre.batch.run import inline, run
from todre.batch.sources import JsonLines

if __name__ == "__main__":
    rows, output, log, processes = sys.argv[1:]
    stub = Stub(seconds=0.02, log=log)
    backend = in_processes(stub, int(processes)) if int(processes) else inline(stub)
    run(JsonLines(Path(rows)), Path(output), {"model": "stub"}, backend)
