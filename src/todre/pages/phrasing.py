"""What every asker of pages uses: the form of a question, and choices at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from todre.pages.entries import Entry
from todre.pages.vocabulary import MAX_SUM, ORDINALS
from todre.scenes.vocabulary import DIGITS, WORDS

T = TypeVar("T")
SUMS: tuple[str, ...] = tuple(str(number) for number in range(MAX_SUM + 1))
"""Every answer that a question for a sum can have."""


@dataclass(frozen=True)
class Asked:
    """A question before it knows its task.

    Args:
        text: the question.
        answer: the true answer.
        choices: every answer that questions of this form can have.
    """

    text: str
    answer: str
    choices: tuple[str, ...]


Asker = Callable[[np.random.Generator, Sequence[Entry]], Asked | None]


def pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    """One of the values, at random."""
    return values[int(rng.integers(len(values)))]


def once(entries: Sequence[Entry]) -> list[Entry]:
    """The entries whose text no other of them has."""
    counts = Counter(entry.text for entry in entries)
    return [entry for entry in entries if counts[entry.text] == 1]


def with_role(entries: Sequence[Entry], role: str) -> list[Entry]:
    """The entries of a role."""
    return [entry for entry in entries if entry.role == role]


def word(rng: np.random.Generator, texts: Sequence[str], answer: str) -> Asked:
    """A question, in one of several wordings, that a word answers."""
    return Asked(pick(rng, texts), answer, WORDS)


def digit(rng: np.random.Generator, texts: Sequence[str], answer: str) -> Asked:
    """A question, in one of several wordings, that a digit answers."""
    return Asked(pick(rng, texts), answer, DIGITS)


def ordinal(rng: np.random.Generator, texts: Sequence[str], place: int) -> Asked:
    """A question that an ordinal answers; the first place is 0."""
    return Asked(pick(rng, texts), ORDINALS[place], ORDINALS)


def number(rng: np.random.Generator, texts: Sequence[str], answer: int) -> Asked:
    """A question, in one of several wordings, that a number answers."""
    return Asked(pick(rng, texts), str(answer), SUMS)
