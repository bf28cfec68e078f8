"""Scores of the same questions under every part and change, with paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from todre.evaluate.metrics import mark
from todre.evaluate.stage2.plan import WHOLE, Part
from todre.evaluate.stage2.working import Done
from todre.evaluate.statistics import Bootstrap
from todre.evaluate.tasks import Item

Floats = NDArray[np.float64]
Record = dict[str, Any]


class Scores:
    """Marks and attention of every question, and their means.

    All questions weigh the same, and all intervals come from the same resampled pictures.

    Args:
        groups: the questions of each group.
        done: the measured parts.
        seed: seed of the bootstrap.
        resamples: number of resamples.
    """

    def __init__(
        self, groups: Sequence[Sequence[Item]], done: Sequence[Done], seed: int = 0, resamples: int = 10_000
    ) -> None:
        self.items = [item for group in groups for item in group]
        self.tasks = list(dict.fromkeys(item.task for item in self.items))
        self._task_of = np.array([item.task for item in self.items])
        pictures = [item.picture for item in self.items]
        several = len(set(pictures)) > 1
        self.bootstrap = Bootstrap.over(pictures, resamples, seed) if several else None
        starts = np.cumsum([0, *(len(group) for group in groups)])
        self._records: dict[tuple[str, str], dict[int, Record]] = {}
        for each in done:
            mine = self._records.setdefault((each.part, each.digest), {})
            mine.update(zip(range(starts[each.group], starts[each.group + 1]), each.records, strict=True))

    def records(self, part: Part) -> list[Record | None]:
        """The record of each question, None where the part was not measured."""
        found = self._records.get((part.name, part.digest), {})
        return [found.get(place) for place in range(len(self.items))]

    def marks(self, part: Part, name: str = WHOLE) -> Floats:
        """(n,) mark of each question's answer under a change; NaN where not measured."""
        return self.each(part, lambda item, record: mark(item.metric, record["said"][name], item.references))

    def each(self, part: Part, value: Callable[[Item, Record], float]) -> Floats:
        """(n,) value of each question; NaN where the part was not measured."""
        pairs = zip(self.items, self.records(part), strict=True)
        return np.array([np.nan if record is None else value(item, record) for item, record in pairs], dtype=float)

    def attention(self, part: Part, which: str) -> Floats:
        """(n, layers) attention to the picture; NaN where a question has none.

        Args:
            part: a part that was run layer by layer.
            which: `text`, `last`, `first_slot` or `generated`.
        """
        records = self.records(part)
        known = [record["attention"][which] for record in records if record is not None]
        depth = max((len(values) for values in known if values is not None), default=0)
        none = [float("nan")] * depth
        rows = [none if record is None or (mine := record["attention"][which]) is None else mine for record in records]
        return np.array(rows, dtype=float)

    def mean(self, values: Floats) -> dict[str, Any]:
        """Mean of (n,) values with its interval; NaN marks questions to leave out."""
        known = values[~np.isnan(values)]
        if not len(known):
            return {"n": 0, "value": None, "low": None, "high": None}
        low = high = None
        if self.bootstrap is not None:
            low, high = (round(edge, 6) for edge in self.bootstrap.interval(values))
        return {"n": len(known), "value": round(float(known.mean()), 6), "low": low, "high": high}

    def by_task(self, values: Floats) -> dict[str, dict[str, Any]]:
        """`mean` of the questions of each task."""
        return {task: self.mean(self.only(task, values)) for task in self.tasks}

    def only(self, task: str, values: Floats) -> Floats:
        """Values of one task's questions, NaN at all others."""
        return np.where(self._task_of == task, values, np.nan)

    def whole(self, values: Floats) -> dict[str, Any]:
        """`mean` over all questions, and by task."""
        return {**self.mean(values), "tasks": self.by_task(values)}
