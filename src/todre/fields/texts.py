"""Numbers as people type them."""

from __future__ import annotations


def number_of(text: str) -> float | None:
    """The number that a text writes: an int where it is whole, else a float.

    Returns:
        None if the text is no number.
    """
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return None
