"""Names of files and values in messages: short, printable, on one line."""

from __future__ import annotations

from pathlib import Path

MOST = 120
"""Longest name or value that a message holds, in characters."""


def printable(value: object, most: int = MOST) -> str:
    """A path or text itself, or another value's `repr`, printable on one line.

    The middle is left out if the result would be longer than `most` characters.
    """
    text = str(value) if isinstance(value, str | Path) else repr(value)
    text = text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 3) :]}"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def reason(error: BaseException) -> str:
    """The message of an exception in a few words, without a full stop."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return printable(str(text).rstrip("."))
