"""What pages are made of, and which layouts and words training never shows."""

from __future__ import annotations

from todre.scenes.vocabulary import WORDS

KINDS: tuple[str, ...] = ("paragraph", "table", "receipt", "form")
SEEN_LAYOUTS: dict[str, tuple[str, ...]] = {
    "paragraph": ("left", "indented"),
    "table": ("labels-left", "labels-right"),
    "receipt": ("near", "justified"),
    "form": ("beside", "wide"),
}
"""Kind → layouts of all splits; `todre.pages.layouts` says how they look."""
UNSEEN_LAYOUTS: dict[str, tuple[str, ...]] = {
    "paragraph": ("right",),
    "table": ("header-bottom",),
    "receipt": ("prices-first",),
    "form": ("below",),
}
"""Kind → layouts that no page of the training split has."""
UNSEEN_WORDS: dict[str, tuple[str, ...]] = {
    "paragraph": ("tea", "map"),
    "table": ("tea", "bus"),
    "receipt": ("tea", "key"),
    "form": ("tea", "hat"),
}
"""Kind → words that no page of that kind has in the training split.

"tea" is on no training page at all; training scenes show every word.
"""
NOVELTIES: tuple[str, ...] = ("seen", "unseen-layout", "unseen-words")
"""What training pages lack; they are all "seen" themselves."""

ORDINALS: tuple[str, ...] = ("first", "second", "third", "fourth", "fifth", "sixth")
MAX_SUM = 20
"""Largest answer of a question for a sum."""


def seen_words(kind: str) -> tuple[str, ...]:
    """The words that training pages of a kind may have."""
    return tuple(word for word in WORDS if word not in UNSEEN_WORDS[kind])
