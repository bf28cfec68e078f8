"""Tasks on rendered pages of the unseen test split, one for each page task."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

from PIL import Image

from todre.errors import InvalidValueError
from todre.evaluate.tasks.base import Item
from todre.evaluate.tasks.scenes import LIMIT, SPLIT, first_items, numbers
from todre.fields import Checked, OneOf
from todre.fields.kinds import Count
from todre.pages import PAGE_TASKS, Page, make_page

PAGES = "pages-"
SIDE = 192
"""Side of the pages in pixels.

Text has one size on pages, so that they come in no other.
"""
_FEW_TOKENS = 4


@dataclass(frozen=True)
class PageTask(Checked):
    """One kind of question about pages, at most one for each page.

    An item's kind says what is new about its page: "seen", "unseen-layout" or "unseen-words".

    Args:
        kind: name in `todre.pages.PAGE_TASKS`.
        size: side of the square pages in pixels, 192.
    """

    kind: Annotated[str, OneOf(PAGE_TASKS)]
    size: Count = SIDE
    metric: str = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size != SIDE:
            raise InvalidValueError(
                f"Pages are {SIDE} by {SIDE} pixels, not {self.size} by {self.size}; leave the size out."
            )

    @property
    def name(self) -> str:
        """The task's name in results, such as `pages-reading`."""
        return PAGES + self.kind

    def items(self, limit: int | None, seed: int) -> tuple[Item, ...]:
        """The first questions of the seed's pages; pages without any are skipped."""
        return first_items(numbers(seed), LIMIT if limit is None else limit, self._about)

    def _about(self, number: int) -> list[Item]:
        page = page_of(number)
        return [
            Item(
                task=self.name,
                id=str(number),
                picture=f"page-{page.kind}-{number}",
                media=(functools.partial(page_image, number),),
                question=question.text,
                references=(question.answer,),
                metric=self.metric,
                kind=page.novelty,
                new_tokens=_FEW_TOKENS,
            )
            for question in page.questions
            if question.task == self.kind
        ]


@functools.lru_cache(maxsize=512)
def page_of(number: int) -> Page:
    """A page of the test split, rendered once for all tasks."""
    return make_page(number, SPLIT, SIDE)


def page_image(number: int) -> Image.Image:
    """The picture of a page."""
    return page_of(number).image
