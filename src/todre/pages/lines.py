"""Questions about paragraphs: lines of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from todre.pages.entries import Entry
from todre.pages.phrasing import Asked, Asker, number, once, ordinal, pick, word
from todre.pages.vocabulary import ORDINALS


def _line(entries: Sequence[Entry], row: int) -> list[Entry]:
    return [entry for entry in entries if entry.row == row]


def ask_word_at(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The word at a place in a line."""
    entry = pick(rng, entries)
    line, place = ORDINALS[entry.row], ORDINALS[entry.column]
    if len(_line(entries, entry.row)) == 1:
        return word(rng, (f"What word is on the {line} line?", f"Which word stands on the {line} line?"), entry.text)
    texts = (f"What is the {place} word on the {line} line?", f"Which word comes {place} on the {line} line?")
    return word(rng, texts, entry.text)


def ask_next_word(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The word that follows a word on its line."""
    pairs = [(a, b) for a in once(entries) for b in entries if (a.row, a.column + 1) == (b.row, b.column)]
    if not pairs:
        return None
    first, second = pick(rng, pairs)
    texts = (f"Which word follows {first.text} on its line?", f"What word is right after {first.text}?")
    return word(rng, texts, second.text)


def ask_line_of(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The line that a word is on."""
    single = once(entries)
    if not single:
        return None
    entry = pick(rng, single)
    return ordinal(
        rng, (f"On which line is the word {entry.text}?", f"Which line holds the word {entry.text}?"), entry.row
    )


def ask_lines(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of lines."""
    return number(
        rng, ("How many lines are there?", "How many lines does the page have?"), len({e.row for e in entries})
    )


def ask_words_on(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of words on a line."""
    row = pick(rng, sorted({entry.row for entry in entries}))
    texts = (f"How many words are on the {ORDINALS[row]} line?", f"How many words does the {ORDINALS[row]} line have?")
    return number(rng, texts, len(_line(entries, row)))


def ask_occurrences(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """How many times a word of the page occurs."""
    text = pick(rng, sorted({entry.text for entry in entries}))
    texts = (f"How many times does the word {text} occur?", f"How often is the word {text} on the page?")
    return number(rng, texts, sum(entry.text == text for entry in entries))


PARAGRAPH: dict[str, tuple[Asker, ...]] = {
    "reading": (ask_word_at, ask_word_at, ask_next_word),
    "locating": (ask_line_of,),
    "count": (ask_lines, ask_words_on, ask_occurrences),
}
"""Task → functions that ask; one that stands twice asks twice as often."""
