"""Recipes: the tables and figures that can be reproduced, by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from todre.errors import InvalidValueError
from todre.published import NAMES, Table, table

V1 = "ToDRE, arXiv 2505.18757v1"


@dataclass(frozen=True)
class Recipe:
    """A table or figure of a paper.

    Attributes:
        name: name on the command line.
        title: what the table or figure shows.
        paper: name and arXiv number with version.
        kind: `scores`, `stages` or `efficiency` as the table is (`todre.published.Table`); `attention`, `radar` or
            `kept` for figures.
        table: name of the published table behind the recipe; None where there is none.
    """

    name: str
    title: str
    paper: str
    kind: str
    table: str | None

    @property
    def figure(self) -> bool:
        """Whether the result is a picture."""
        return self.kind in ("attention", "radar", "kept")

    @property
    def printed(self) -> Table:
        """The published table behind the recipe.

        Raises:
            InvalidValueError: there is none, as behind a figure of attention.
        """
        if self.table is None:
            raise InvalidValueError(f"No published table is behind {self.name}; choose a table, or v1-figure3.")
        return table(self.table)


_FIGURES = (
    Recipe("v1-figure2", "Figure 2: attention between text and picture in each layer, in prefill", V1, "attention",
           None),
    Recipe("v1-figure3", "Figure 3: eight benchmarks at 10 % kept, as a radar", V1, "radar", "v1-table1"),
    Recipe("v1-figure5", "Figure 5: attention of generated tokens in each layer", V1, "attention", None),
    Recipe("v1-figure7", "Figure 7: tokens kept by attention and by diversity", V1, "kept", None),
)  # fmt: skip


def recipes() -> tuple[Recipe, ...]:
    """All recipes: tables and figures of version 1, then tables of version 2."""
    tables = [table(name) for name in NAMES]
    found = [Recipe(each.id, each.title, each.paper, each.kind, each.id) for each in tables]
    first = [each for each in found if each.name.startswith("v1-")]
    return (*first, *_FIGURES, *(each for each in found if each not in first))


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InvalidValueError: there is no such recipe; the message suggests a similar name.
    """
    known = {each.name: each for each in recipes()}
    if name in known:
        return known[name]
    plain = name.lower().replace("_", "-").replace(" ", "-")
    close = difflib.get_close_matches(plain, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InvalidValueError(f"There is no recipe {name!r}; {hint}the recipes are {', '.join(known)}.")
