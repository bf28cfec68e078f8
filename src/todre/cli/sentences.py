"""One sentence for an error: what was wrong, and what to do.

The sentence fits one line that any terminal can show.
"""

from __future__ import annotations

import errno
import os
import re

from todre.errors import TodreError
from todre.files import printable

WORD, LINE = 200, 1200
"""Longest word and longest message, in characters; longer ones lose their middle."""


def line_of(text: str) -> str:
    """A text on one line.

    Long words and long texts are cut, and characters that a terminal cannot show are escaped.
    """
    words = [printable(word, WORD) for word in text.split()]
    return printable(" ".join(words), LINE)


def sentence(error: BaseException) -> str:
    """The sentence that tells a user of the command line what an exception means."""
    if isinstance(error, TodreError):
        return line_of(str(error))
    if isinstance(error, OSError) and _working_directory_is_gone():
        return "The working directory is gone; change to one that is there (cd), and run it again."
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_system(error)
    text = line_of(str(error)).rstrip(".") or "no message"
    if _is_of_memory(error, text):
        return f"There is not enough memory for this ({text}); ask for less at once, or use a smaller model."
    if isinstance(error, ImportError):
        return f"A package that this needs cannot be imported ({text}); `todre env` says what is there, install it."
    if type(error).__name__ == "Abort":
        return "Nothing was answered, so nothing is done; add --yes to begin without being asked."
    return f"unexpected {type(error).__name__} ({text}); run it again with -v to see where it came from."


def _of_the_system(error: OSError) -> str:
    """The sentence for an error of the operating system."""
    what = error.strerror or str(error)
    name = f"{printable(_text(error.filename))}: " if error.filename is not None else ""
    remedies = {
        errno.ENOSPC: "make room, or write elsewhere",
        errno.EDQUOT: "make room, or write elsewhere",
        errno.ENAMETOOLONG: "give a shorter name",
        errno.ENOENT: "check the name",
        errno.EACCES: "check its permissions",
        errno.EPERM: "check its permissions",
        errno.ENOMEM: "ask for less at once, or use a smaller model",
    }
    return line_of(f"{name}{what}; {remedies.get(error.errno or 0, 'check it')}, and run it again.")


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, bytes | str) else str(name)


def _working_directory_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _is_of_memory(error: BaseException, text: str) -> bool:
    """Whether Python, torch or a GPU ran out of memory.

    When a CPU's memory runs out, torch raises a RuntimeError.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and re.search(r"allocate memory|out of memory", text) is not None
