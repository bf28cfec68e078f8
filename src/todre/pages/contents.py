"""What stands on a page before it is laid out: words and numbers by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from todre.pages.vocabulary import MAX_SUM, UNSEEN_WORDS, seen_words
from todre.scenes.vocabulary import WORDS


@dataclass(frozen=True)
class Text:
    """A word or a digit with its role, row and column, as `Entry` defines them."""

    role: str
    row: int
    column: int
    text: str


Draw = Callable[[np.random.Generator, str, bool, int, int], list[Text]]


def sample_texts(rng: np.random.Generator, kind: str, unseen: bool, across: int, down: int) -> list[Text]:
    """The texts of a page.

    Args:
        rng: decides them.
        kind: a name from `KINDS`.
        unseen: whether at least one word is one that training pages of this kind never have.
        across, down: how many plates fit beside and below each other.
    """
    return _DRAWS[kind](rng, kind, unseen, across, down)


def _words(rng: np.random.Generator, kind: str, unseen: bool, count: int) -> list[str]:
    """`count` different words; with `unseen`, at least one of them is unseen."""
    if not unseen:
        return [str(word) for word in rng.permutation(seen_words(kind))[:count]]
    first = str(rng.choice(UNSEEN_WORDS[kind]))
    others = [str(word) for word in rng.permutation([word for word in WORDS if word != first])[: count - 1]]
    return [str(word) for word in rng.permutation([first, *others])]


def _paragraph(rng: np.random.Generator, kind: str, unseen: bool, across: int, down: int) -> list[Text]:
    """Two lines or more of one to `across` words; words may recur."""
    lengths = [int(rng.integers(1, across + 1)) for _ in range(int(rng.integers(2, down + 1)))]
    words = [str(rng.choice(seen_words(kind))) for _ in range(sum(lengths))]
    if unseen:
        new = [str(word) for word in rng.permutation(UNSEEN_WORDS[kind])]
        for place, word in zip(rng.permutation(len(words)), new, strict=False):
            words[int(place)] = word
    places = [(line, place) for line, length in enumerate(lengths) for place in range(length)]
    return [Text("word", line, place, word) for (line, place), word in zip(places, words, strict=True)]


def _table(rng: np.random.Generator, kind: str, unseen: bool, across: int, down: int) -> list[Text]:
    """A header, a label for each row, and a digit in each cell.

    No row or column adds up to more than `MAX_SUM`.
    """
    columns = int(rng.integers(min(2, across - 1), across))
    rows = int(rng.integers(2, min(down - 1, 4) + 1))
    cells = rng.integers(0, 10, size=(rows, columns))
    while max(cells.sum(axis=0).max(), cells.sum(axis=1).max()) > MAX_SUM:
        cells = rng.integers(0, 10, size=(rows, columns))
    names = _words(rng, kind, unseen, columns + rows)
    header = [Text("column", -1, column, names[column]) for column in range(columns)]
    labels = [Text("row", row, -1, names[columns + row]) for row in range(rows)]
    body = [Text("cell", row, column, str(cells[row, column])) for row in range(rows) for column in range(columns)]
    return header + labels + body


def _receipt(rng: np.random.Generator, kind: str, unseen: bool, across: int, down: int) -> list[Text]:
    """Two to five items, each with a price of 1 to 9; the total is at most `MAX_SUM`."""
    count = int(rng.integers(2, min(down, 5) + 1))
    prices = rng.integers(1, 10, size=count)
    while prices.sum() > MAX_SUM:
        prices = rng.integers(1, 10, size=count)
    items = _words(rng, kind, unseen, count)
    listed = [(Text("item", n, 0, items[n]), Text("price", n, 0, str(prices[n]))) for n in range(count)]
    return [text for pair in listed for text in pair]


def _form(rng: np.random.Generator, kind: str, unseen: bool, across: int, down: int) -> list[Text]:
    """Two to five labels with a digit or another word as value.

    Two values or more are digits, and all words differ.
    """
    count = int(rng.integers(2, min(across * (down // 2), down, 5) + 1))
    numeric = rng.random(count) < 0.6
    numeric[rng.permutation(count)[:2]] = True
    words = _words(rng, kind, unseen, count + int((~numeric).sum()))
    labels, others = words[:count], iter(words[count:])
    values = [str(rng.integers(10)) if number else next(others) for number in numeric]
    listed = [(Text("label", n, 0, labels[n]), Text("value", n, 0, values[n])) for n in range(count)]
    return [text for pair in listed for text in pair]


_DRAWS: dict[str, Draw] = {"paragraph": _paragraph, "table": _table, "receipt": _receipt, "form": _form}
