"""Questions about a page, by task; the answers follow from its entries alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from todre.pages.entries import Entry
from todre.pages.lines import PARAGRAPH
from todre.pages.phrasing import Asked, Asker
from todre.pages.records import FORM, RECEIPT
from todre.pages.tables import TABLE
from todre.pages.vocabulary import UNSEEN_WORDS
from todre.scenes import Question

PAGE_TASKS: tuple[str, ...] = ("reading", "locating", "sum", "count")
"""Kinds of questions about pages.

They ask what stands somewhere, where something stands, what numbers add up to, and how many there are.
"""
ASKERS: Mapping[str, Mapping[str, tuple[Asker, ...]]] = {
    "paragraph": PARAGRAPH,
    "table": TABLE,
    "receipt": RECEIPT,
    "form": FORM,
}
"""Kind of page → task → functions that ask; a paragraph has nothing to add up."""
_TRIES = 12


def ask_about(
    rng: np.random.Generator, kind: str, novelty: str, entries: Sequence[Entry], task: str
) -> Question | None:
    """One question of a task, or None where the page has no answer for it.

    On pages with unseen words, a question that names one, or is answered by one, is preferred.

    Args:
        rng: chooses what is asked about, and the wording.
        kind, novelty: of the page, names from `todre.pages.vocabulary`; both go into the question's `detail`.
        entries: everything on the page.
        task: a name from `PAGE_TASKS`.
    """
    asked: Asked | None = None
    for _ in range(_TRIES):
        drawn = _draw(rng, ASKERS[kind].get(task, ()), entries)
        asked = drawn or asked
        if novelty != "unseen-words" or drawn is None or _names_unseen(drawn, kind):
            break
    if asked is None:
        return None
    return Question(task, asked.text, asked.answer, asked.choices, f"{kind} {novelty}")


def _draw(rng: np.random.Generator, askers: Sequence[Asker], entries: Sequence[Entry]) -> Asked | None:
    """The first question that has an answer, from the askers in random order."""
    for place in rng.permutation(len(askers)):
        asked = askers[int(place)](rng, entries)
        if asked is not None:
            return asked
    return None


def _names_unseen(asked: Asked, kind: str) -> bool:
    said = {word.strip("?,.") for word in f"{asked.text} {asked.answer}".split()}
    return bool(said & set(UNSEEN_WORDS[kind]))
