"""Lines that are typed at `todre chat`, or come from a pipe."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from todre.chat.lines import COMMANDS

PROMPT = "> "
_BREAKS = " \t\n"


@contextmanager
def line_editing() -> Iterator[None]:
    """Let lines be edited, remembered and completed where readline is there.

    Enter it before the first line is read. Lines are remembered until the chat ends, and written nowhere.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no text are told from text later
    readline = _readline()
    if readline is None or not is_typed():
        yield
        return
    before = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(complete)
    readline.set_completer_delims(_BREAKS)
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before[0])
        readline.set_completer_delims(before[1])


def read_typed() -> str | None:
    """The next line without its end; None after the last, or after Ctrl-D."""
    if is_typed():
        try:
            return input(PROMPT)
        except EOFError:
            return None
    if sys.stdin is None:
        return None
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def is_typed() -> bool:
    """Whether lines come from a terminal and go to one."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def complete(text: str, state: int) -> str | None:
    """Completion number `state` of a word: a command, or a path after `@` or alone."""
    found = _completions(text)
    return found[state] if state < len(found) else None


def _completions(text: str) -> list[str]:
    mark = "@" if text.startswith("@") else ""
    pattern = glob.escape(os.path.expanduser(text[len(mark) :])) + "*"
    paths = [f"{mark}{path}{'/' if os.path.isdir(path) else ' '}" for path in sorted(glob.glob(pattern))]
    return [f"{name} " for name in COMMANDS if text and name.startswith(text)] + paths


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:
        return None
    return readline
