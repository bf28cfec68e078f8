"""A 5 × 7 pixel alphabet for text on plates; no installed font is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = {
    "0": "0E 11 13 15 19 11 0E",
    "1": "04 0C 04 04 04 04 0E",
    "2": "0E 11 01 02 04 08 1F",
    "3": "1F 02 04 02 01 11 0E",
    "4": "02 06 0A 12 1F 02 02",
    "5": "1F 10 1E 01 01 11 0E",
    "6": "06 08 10 1E 11 11 0E",
    "7": "1F 01 02 04 08 08 08",
    "8": "0E 11 11 0E 11 11 0E",
    "9": "0E 11 11 0F 01 02 0C",
    "a": "0E 11 11 1F 11 11 11",
    "b": "1E 11 11 1E 11 11 1E",
    "c": "0E 11 10 10 10 11 0E",
    "d": "1E 11 11 11 11 11 1E",
    "e": "1F 10 10 1E 10 10 1F",
    "g": "0E 11 10 17 11 11 0F",
    "h": "11 11 11 1F 11 11 11",
    "k": "11 12 14 18 14 12 11",
    "m": "11 1B 15 15 11 11 11",
    "n": "11 19 15 13 11 11 11",
    "o": "0E 11 11 11 11 11 0E",
    "p": "1E 11 11 1E 10 10 10",
    "s": "0F 10 10 0E 01 01 1E",
    "t": "1F 04 04 04 04 04 04",
    "u": "11 11 11 11 11 11 0E",
    "x": "11 11 0A 04 0A 11 11",
    "y": "11 11 0A 04 04 04 04",
}


def text_bitmap(text: str) -> NDArray[np.uint8]:
    """A text as a (7, 6·n − 1) uint8 array of 0 and 255.

    Args:
        text: n lower-case letters of the word list, or digits.
    """
    columns = [
        np.array([[(int(row, 16) >> (4 - column)) & 1 for column in range(5)] for row in _ROWS[letter].split()])
        for letter in text
    ]
    spaced = [np.pad(glyph, ((0, 0), (0, 1))) for glyph in columns]
    joined = np.concatenate(spaced, axis=1)[:, :-1]
    return (joined * 255).astype(np.uint8)
