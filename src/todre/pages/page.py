"""Pages by seed: the picture, its entries, and questions about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from todre.errors import InvalidValueError
from todre.pages.contents import sample_texts
from todre.pages.entries import Entry
from todre.pages.layouts import CELL_HEIGHT, CELL_WIDTH, lay_out
from todre.pages.paper import paint_paper
from todre.pages.questions import PAGE_TASKS, ask_about
from todre.pages.vocabulary import KINDS, NOVELTIES, SEEN_LAYOUTS, UNSEEN_LAYOUTS
from todre.scenes import Question, SceneObject
from todre.scenes.draw import draw_objects
from todre.scenes.scene import absolute_seed

PAGE_SIZES: tuple[tuple[int, int], ...] = ((192, 192), (192, 96), (96, 192))
"""Sizes (width, height) of pages in pixels."""
_TAG = 0xD0C5
"""Extra seed, so that a page and the scene of equal seed differ."""
_NOVELTY_SHARES = (0.5, 0.25, 0.25)


@dataclass(frozen=True)
class Page:
    """A rendered page and its true content.

    Args:
        seed, split: what `make_page` was called with.
        image: the picture, RGB.
        kind: "paragraph", "table", "receipt" or "form".
        layout: a name from `SEEN_LAYOUTS` or `UNSEEN_LAYOUTS`.
        novelty: what training pages lack: "seen" (nothing), "unseen-layout" or "unseen-words".
        entries: every word and digit with its box, in reading order.
        owners: (height, width) uint8 array; 0 for paper, i + 1 where `entries[i]` shows.
        questions: at most one question for each task, in the order of `PAGE_TASKS`.
    """

    seed: int
    split: str
    image: Image.Image
    kind: str
    layout: str
    novelty: str
    entries: tuple[Entry, ...]
    owners: NDArray[np.uint8] = field(repr=False)
    questions: list[Question]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.width, self.image.height

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """The plates of the entries, in order, as scenes hold their objects."""
        return tuple(entry.thing for entry in self.entries)


def make_page(seed: int, split: str = "train", size: int | tuple[int, int] = 192, kind: str | None = None) -> Page:
    """Render the page that belongs to a seed.

    Equal arguments give equal pixels and questions. Half of the pages of "val" and "test" are like training pages; a
    quarter has a layout and another quarter has words that training pages of the kind never have.

    Args:
        seed: 0 ≤ seed < 2**40, as for `make_scene`.
        split: "train", "val" or "test".
        size: 192 for a square page, or a (width, height) from `PAGE_SIZES`, in pixels.
        kind: "paragraph", "table", "receipt" or "form"; None lets the seed decide.

    Raises:
        InvalidValueError: a seed, split, size or kind is not valid.
    """
    width, height = page_size(size)
    rng = np.random.default_rng([absolute_seed(seed, split), width, height, _TAG])
    drawn = KINDS[int(rng.integers(len(KINDS)))]
    kind = drawn if kind is None else _checked_kind(kind)
    novelty = NOVELTIES[0] if split == "train" else NOVELTIES[int(rng.choice(len(NOVELTIES), p=_NOVELTY_SHARES))]
    layouts = (UNSEEN_LAYOUTS if novelty == "unseen-layout" else SEEN_LAYOUTS)[kind]
    layout = layouts[int(rng.integers(len(layouts)))]
    across, down = width // CELL_WIDTH, height // CELL_HEIGHT
    texts = sample_texts(rng, kind, novelty == "unseen-words", across, down)
    entries = lay_out(rng, texts, kind, layout, across, down)
    image = paint_paper(rng, kind, entries, width, height)
    owners = draw_objects(rng, image, tuple(entry.thing for entry in entries))
    page = Page(seed, split, image, kind, layout, novelty, entries, owners, [])
    return replace(page, questions=ask(rng, page, PAGE_TASKS))


def ask(rng: np.random.Generator, page: Page, tasks: Sequence[str]) -> list[Question]:
    """One question for each entry of `tasks`, which may repeat.

    Tasks that the page has no answer for are left out. `detail` says the page's kind and novelty: "receipt seen".

    Args:
        rng: chooses what a question asks about, and its wording.
        page: the page.
        tasks: names from `PAGE_TASKS`.

    Raises:
        InvalidValueError: there is no such task.
    """
    drawn = [ask_about(rng, page.kind, page.novelty, page.entries, _checked_task(task)) for task in tasks]
    return [question for question in drawn if question is not None]


def questions(
    tasks: Sequence[str], n: int, split: str = "val", size: int | tuple[int, int] = 192, start: int = 0
) -> Iterator[tuple[Page, Question]]:
    """Yield `n` pairs of page and question, in the order of the pages' seeds.

    Args:
        tasks: names from `PAGE_TASKS`.
        n: number of pairs.
        split: "train", "val" or "test".
        size: as for `make_page`.
        start: seed of the first page.

    Raises:
        InvalidValueError: a task, split or size is not valid, or there is no task.
    """
    chosen = {_checked_task(task) for task in tasks}
    if not chosen:
        raise InvalidValueError(f"no task of pages is named; use some of {', '.join(PAGE_TASKS)}")
    left, seed = n, start
    while left > 0:
        page = make_page(seed, split, size)
        for question in [q for q in page.questions if q.task in chosen][:left]:
            yield page, question
            left -= 1
        seed += 1


def page_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a page in pixels.

    Raises:
        InvalidValueError: pages do not come in that size.
    """
    pair = (size, size) if isinstance(size, int) else (size[0], size[1])
    if pair not in PAGE_SIZES:
        sizes = ", ".join(f"{width} by {height}" for width, height in PAGE_SIZES)
        raise InvalidValueError(f"a page has one of the sizes {sizes} pixels, not {pair[0]} by {pair[1]}")
    return pair


def _checked_kind(kind: str) -> str:
    if kind not in KINDS:
        raise InvalidValueError(f"there is no kind of page named {kind!r}; use one of {', '.join(KINDS)}")
    return kind


def _checked_task(task: str) -> str:
    if task not in PAGE_TASKS:
        raise InvalidValueError(f"there is no task of pages named {task!r}; use some of {', '.join(PAGE_TASKS)}")
    return task
