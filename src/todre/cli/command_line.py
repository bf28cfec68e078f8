"""The typed command, which documents record to say how they were made."""

from __future__ import annotations

import shlex
import sys


def command_line() -> str:
    """The command that was typed, quoted for a shell."""
    return shlex.join(["todre", *sys.argv[1:]])
