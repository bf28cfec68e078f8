"""One record for each word or number on a page."""

from __future__ import annotations

from dataclasses import dataclass

from todre.scenes import SceneObject


@dataclass(frozen=True)
class Entry:
    """A word or a number, what it is on the page, and where it stands.

    Args:
        role: "word" in paragraphs; "column", "row" or "cell" in tables; "item" or "price" in receipts; "label" or
            "value" in forms.
        row: the line of a paragraph, row of a table, or number of an item or field, from 0; −1 for a table's header.
        column: the place in a line, or column of a table, from 0; −1 for a row's label; otherwise 0.
        thing: the plate that is drawn: kind "word" or "digit", text, centre and half extents in pixels.
    """

    role: str
    row: int
    column: int
    thing: SceneObject

    @property
    def text(self) -> str:
        """The word, or the digit."""
        return self.thing.text

    @property
    def is_number(self) -> bool:
        """Whether the entry is a digit."""
        return self.thing.kind == "digit"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of the page."""
        thing = self.thing
        left, top = thing.x - thing.half_width, thing.y - thing.half_height
        return left, top, thing.x + thing.half_width, thing.y + thing.half_height
