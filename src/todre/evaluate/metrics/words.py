"""Metrics that compare words: exact match, ANLS, relaxed accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

ANLS_THRESHOLD = 0.5
RELAXED_TOLERANCE = 0.05


def plain(text: str) -> str:
    """`text` in lower case, with single spaces and no full stop at the end."""
    return " ".join(text.lower().strip().rstrip(".").split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer equals a reference, else 0.0.

    Letter case, spaces and a final full stop do not count.
    """
    return float(plain(answer) in {plain(reference) for reference in references})


def anls(answer: str, references: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one answer, with the threshold 0.5.

    Based on "Scene Text Visual Question Answering" (Biten et al., ICCV 2019, arXiv 1907.00490), eq. 1: the best of
    1 − NL over the references, where NL is the edit distance over the longer length, and 0 where NL ≥ 0.5. As in the
    paper, letter case does not count; nor do spaces at the ends or repeated spaces.
    """
    return max((_similarity(_folded(answer), _folded(reference)) for reference in references), default=0.0)


def relaxed_accuracy(answer: str, references: Sequence[str]) -> float:
    """1.0 for a number within 5 % of a reference, or the same words; else 0.0.

    Based on "ChartQA" (Masry et al., 2022, arXiv 2203.10244), section 5.1. A per cent sign divides by 100, on both
    sides; a reference of 0 has to be met exactly.
    """
    return float(any(_close(answer, reference) for reference in references))


def edit_distance(first: str, second: str) -> int:
    """Levenshtein distance: the fewest insertions, deletions and replacements."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _similarity(answer: str, reference: str) -> float:
    longest = max(len(answer), len(reference))
    distance = edit_distance(answer, reference) / longest if longest else 0.0
    return 1.0 - distance if distance < ANLS_THRESHOLD else 0.0


def _close(answer: str, reference: str) -> bool:
    a, b = _number(answer), _number(reference)
    if a is None or b is None:
        return plain(answer) == plain(reference)
    return a == b if b == 0.0 else abs(a - b) / abs(b) <= RELAXED_TOLERANCE


def _number(text: str) -> float | None:
    bare = text.strip().rstrip(".").replace(",", "")
    share = bare.endswith("%")
    try:
        value = float(bare.rstrip("%"))
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return value / 100.0 if share else value
