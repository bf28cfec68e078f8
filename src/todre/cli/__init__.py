"""The command line, `todre …`: a command is one file, and options are shared.

Results go to stdout, everything else to stderr. `app` registers the commands, `options` has the options that they
share, `parsers` their values, and `process` runs one command from its streams to its exit code.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Nothing is imported before this is called, so that Ctrl-C is answered from its first line on.

    Args:
        argv: arguments without the program's name; None takes the process's own.
    """
    try:
        from todre.cli.process import run

        code = run(argv)
    except KeyboardInterrupt:  # before `run` could listen to it, or after it has stopped
        from os import write

        write(2, b"interrupted\n")
        code = 130
    raise SystemExit(code)
