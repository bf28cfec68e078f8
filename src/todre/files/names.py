"""How messages call a file or a value: on one line, shortened, and without what no terminal can show."""

from __future__ import annotations

from pathlib import Path

MOST = 120
"""Longest name or value that a message holds, in characters."""


def shown(value: object, most: int = MOST) -> str:
    """A path or a text as it is, else its `repr`; on one line, its middle left out where it is long."""
    text = str(value) if isinstance(value, str | Path) else repr(value)
    text = text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 3) :]}"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def reason(error: BaseException) -> str:
    """What an exception says, in a few words without a full stop."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return shown(str(text).rstrip("."))
