"""Pages of text: paragraphs, tables, receipts and forms, with questions.

A seed decides a page, and the three splits share no page. `make_page` renders one, `ask` makes more questions about
it, `questions` walks through a split, and `tile_labels` says what each patch shows. Words and digits stand on the
plates of `todre.scenes`, at the sizes that scenes have, so that a vision tower which was trained on scenes can read
them. Layouts and words that training pages never have are marked in a question's `detail`. Nothing here imports torch.
"""

from __future__ import annotations

from todre.pages.entries import Entry
from todre.pages.labels import tile_labels
from todre.pages.page import PAGE_SIZES, Page, ask, make_page, questions
from todre.pages.questions import PAGE_TASKS
from todre.pages.vocabulary import KINDS, NOVELTIES

__all__ = [
    "KINDS",
    "NOVELTIES",
    "PAGE_SIZES",
    "PAGE_TASKS",
    "Entry",
    "Page",
    "ask",
    "make_page",
    "questions",
    "tile_labels",
]
