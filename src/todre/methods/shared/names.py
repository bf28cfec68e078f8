"""Names that users give, checked against those that are known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from todre.errors import InvalidValueError
from todre.fields import short_repr


def check_names(owner: str, what: str, names: Sequence[Any], known: Sequence[str]) -> None:
    """Check that all `names` are among those `known`.

    Args:
        owner: the thing that has the names, for the message.
        what: the kind of name, such as field.
        names: the names to check.
        known: the names that exist.

    Raises:
        InvalidValueError: a name is not known; the message suggests a similar name.
    """
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        hint = suggestion(unknown, known)
        raise InvalidValueError(
            f"{owner} has no {what} {short_repr(unknown)}; {hint}its {what}s are {', '.join(sorted(known))}."
        )


def suggestion(word: Any, known: Iterable[str]) -> str:
    """Beginning of a hint that names the `known` words similar to `word`, or ""."""
    spelt = {each.lower().replace("_", "-"): each for each in known}
    text = word[:100].lower().replace("_", "-") if isinstance(word, str) else ""
    close = [spelt[each] for each in difflib.get_close_matches(text, spelt, n=3)]
    return f"did you mean {' or '.join(map(repr, close))}? " if close else ""
