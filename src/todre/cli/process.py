"""One run of the command line, from the streams to the exit code.

Streams and Ctrl-C are prepared, a command runs, and an error becomes one line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from todre.cli.interrupts import INTERRUPTED, Interrupts

DONE, FAILED = 0, 1

QUIET_LIBRARIES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "critical",  # its tables of what a checkpoint lacks come before our sentence
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "KINETO_LOG_LEVEL": "99",  # torch's profiler speaks on stderr even of what went well
}
"""Environment variables that keep libraries quiet, unless the user sets them."""


def run(argv: Sequence[str] | None) -> int:
    """Run the command line; returns the exit code.

    Args:
        argv: arguments without the program's name; None takes those of the process, which then ends after the run.
    """
    with Interrupts() as interrupts:
        try:
            code = _run(argv, interrupts)
        except KeyboardInterrupt:
            code = INTERRUPTED
        if interrupts.came or code == INTERRUPTED:
            interrupts.say()
            code = INTERRUPTED
        if argv is None:
            interrupts.deaf()
    return code


def _run(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    from todre.cli import streams

    streams.prepare()
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    from todre.cli.app import command
    from todre.cli.guard import tell

    error: Exception | None = None
    code: Any = DONE
    try:
        code = command()(args=argv, prog_name="todre", standalone_mode=False)
    except SystemExit as ended:  # Typer's own, of shell completion
        code = ended.code
    except OSError as raised:  # of the help, which Typer prints; a command's own comes wrapped
        error = streams.undelivered(raised)
    except Exception as raised:
        error = raised
    try:
        streams.settle()
    except Exception as raised:
        error = error or raised
        with contextlib.suppress(Exception):
            streams.settle()
    if error is not None and not interrupts.came:
        return tell(error)
    return code if isinstance(code, int) else DONE if code is None else FAILED
