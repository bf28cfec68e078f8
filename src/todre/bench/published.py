"""Tables 3 and 4 of ToDRE's version 1: which rows they have, and what was printed there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from todre.bench.wanted import Wanted, wanted

NAMES = ("v1-table3", "v1-table4")


@dataclass(frozen=True)
class Published:
    """One row of a table.

    Attributes:
        label: as printed.
        method: as `todre.bench.wanted.parse` takes it; None for no pruning.
        retain: share kept by the row; None where it names none.
        values: printed numbers by name.
    """

    label: str
    method: str | None
    retain: float | None
    values: Mapping[str, float]

    def subject(self, certain: bool) -> Wanted | None:
        """What to measure for the row; None for no pruning.

        Args:
            certain: let stage 2 drop at its first candidate layer, whatever attention says. Attention of random
                weights never fades, so that stage 2 would only ask; this is the most that it can save.
        """
        if self.method is None:
            return None
        spec = self.method
        if certain and spec.startswith("todre-v1") and "stages=1" not in spec:
            spec += ":threshold=1"
        return wanted([spec], [] if self.retain is None else [self.retain])[0]


@dataclass(frozen=True)
class Table:
    """A published table and how its rows are measured: `new_tokens` is the length of each answer."""

    name: str
    title: str
    new_tokens: int
    rows: tuple[Published, ...]

    def subjects(self, certain: bool) -> list[Wanted]:
        """What to measure, beside no pruning."""
        return [found for row in self.rows if (found := row.subject(certain)) is not None]


def table(name: str) -> Table:
    """One of `NAMES`."""
    whole: dict[str, Any] = json.loads(files("todre.bench").joinpath("published.json").read_text(encoding="utf-8"))
    found = whole["tables"][name]
    rows = tuple(Published(row["label"], row["method"], row["retain"], row["published"]) for row in found["rows"])
    return Table(name, found["title"], found["new_tokens"], rows)
