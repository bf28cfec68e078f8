"""Marks of `Annotated`: limits of a value beyond its type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol


class Mark(Protocol):
    """The interface of a mark."""

    def holds(self, value: Any) -> bool:
        """Whether a value of the right type is allowed."""
        ...

    def words(self, words: str) -> str:
        """Words for the allowed values, made from the words for the type."""
        ...


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers between bounds.

    `called` is a noun for such a number, such as `a share`.
    """

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    called: str = ""

    def holds(self, value: Any) -> bool:
        """Whether the value lies between the bounds."""
        return bool(self.least <= value <= self.most and self.above < value < self.below)

    def words(self, words: str) -> str:
        """`a number above 0`, `a share in [0, 1)`, `a whole number of at least 1`."""
        noun, low, high = self.called or words, max(self.least, self.above), min(self.most, self.below)
        if high == math.inf:
            return noun + (f" above {low:g}" if self.above == low else f" of at least {low:g}") * (low > -math.inf)
        if isinstance(high, int) and high > 1:
            return f"{noun} from {low} to {high if high < 2**53 else f'2**{(high + 1).bit_length() - 1} - 1'}"
        return f"{noun} in {'(' if self.above == low else '['}{low:g}, {high:g}{')' if self.below == high else ']'}"


@dataclass(frozen=True, kw_only=True)
class Items:
    """Tuples with at least `least` items.

    With `once` no item comes twice, with `ascending` the items are in ascending order, and with `lone` a number alone
    is taken as a tuple of one item.
    """

    least: int = 0
    once: bool = False
    ascending: bool = False
    lone: bool = False

    def holds(self, value: Any) -> bool:
        """Whether the items are enough, and in order or distinct where required."""
        if len(value) < self.least or (self.once and len(set(value)) < len(value)):
            return False
        return not self.ascending or list(value) == sorted(set(value))

    def words(self, words: str) -> str:
        """`a list of at least one, in ascending order, each …`."""
        least = " of at least one" if self.least == 1 else f" of at least {self.least}" * bool(self.least)
        order = ", in ascending order" if self.ascending else ", none twice" * self.once
        return words.replace("a list", f"a list{least}{order}", 1)


@dataclass(frozen=True)
class OneOf:
    """A value among `choices`, where a `Literal` cannot list them."""

    choices: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether the value is among the choices."""
        return value in self.choices

    def words(self, words: str) -> str:
        """The choices, as a message names them: `one of …`."""
        return f"one of {', '.join(map(str, self.choices))}"


@dataclass(frozen=True)
class Wording:
    """A text that messages show in place of the annotation's own words."""

    text: str

    def holds(self, value: Any) -> bool:
        """True for every value."""
        return True

    def words(self, words: str) -> str:
        """The text."""
        return self.text
