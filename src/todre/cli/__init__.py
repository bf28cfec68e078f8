"""The command line: `todre …`. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Args:
        argv: arguments without the program's name; None takes the process's own.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from todre.cli.app import app
    from todre.cli.guard import usage_error

    try:
        code = app(args=argv, prog_name="todre", standalone_mode=False)
    except Exception as error:
        sys.exit(usage_error(error))
    sys.exit(code if isinstance(code, int) else 0)
