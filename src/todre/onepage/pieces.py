"""Parts of a page, as plain records that `render` turns into HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is shown.
        value: what the table is sorted by; None comes last.
        best: whether the text is bold.
    """

    text: str
    value: float | str | None = None
    best: bool = False


Row = tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table that can be sorted.

    Attributes:
        caption: what the table shows.
        headings: of the columns; the first column names the rows.
        groups: rows; those of one group stay together, in their order.
        note: a sentence below the caption, or nothing.
        key: place (0-based) of the row in a group by which groups are sorted; in smaller groups, the last.
        shown: whether the table is unfolded at first.
    """

    caption: str
    headings: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    note: str = ""
    key: int = 0
    shown: bool = True

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows in order."""
        return tuple(row for group in self.groups for row in group)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A plot: its title, a sentence below, and the Vega-Lite document."""

    title: str
    caption: str
    spec: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Runs that gave the same answer to one question.

    Attributes:
        text: the answer.
        mark: text of its mark, such as `100`.
        conditions: names of methods and budgets, with the draw's number where there are several draws.
    """

    text: str
    mark: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question on which methods disagree.

    Attributes:
        task, id, question: which question of which task.
        references: the true answers.
        pictures: data addresses of the pictures; empty where they cannot be made again.
        video: whether the pictures are frames of a clip.
        answers: the different answers, best first.
    """

    task: str
    id: str
    question: str
    references: tuple[str, ...]
    pictures: tuple[str, ...]
    video: bool
    answers: tuple[Answers, ...]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Questions on which methods disagree, under a sentence that says what is shown."""

    sentence: str
    found: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on a page, in its order.

    Attributes:
        title: heading of the page.
        sentences: paragraphs below the title.
        charts: the plots.
        grids: the tables.
        remarks: (heading, lines) of lists, such as notes and methods that were left out.
        samples: questions with answers; None where the command answers none.
        conditions: (name, text) of everything that the run was done under.
    """

    title: str
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]
    grids: tuple[Grid, ...]
    remarks: tuple[tuple[str, tuple[str, ...]], ...]
    samples: Samples | None
    conditions: tuple[tuple[str, str], ...]
