"""The command line, `todre …`: one file for each command, and shared options.

Results go to stdout, everything else to stderr. `app` registers the commands, `options` has their shared options,
`parsers` turns the text of options into values, and `process` runs one command from its streams to its exit code.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    All other imports happen inside this function, so that Ctrl-C is answered from its first line on.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    """
    try:
        from todre.cli.process import run

        code = run(argv)
    except KeyboardInterrupt:  # before `run` could listen to it, or after it has stopped
        from os import write

        write(2, b"interrupted\n")
        code = 130
    raise SystemExit(code)
