"""Table of scores of every condition on the same questions, and comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from todre.errors import InvalidValueError
from todre.evaluate.statistics import Bootstrap, mcnemar, wilson
from todre.scenes import TASKS

Records = list[dict[str, Any]]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The same balanced questions under every condition.

    Attributes:
        questions: the first condition's record of each question.
        tasks: (n,) the task of each question.
        records: condition to its records of these questions.
        bootstrap: resampled pictures, shared by all intervals.
    """

    questions: Records
    tasks: NDArray[np.str_]
    records: dict[str, Records]
    bootstrap: Bootstrap

    @classmethod
    def of(cls, by_condition: dict[str, Records], resamples: int = 10_000, seed: int = 0) -> Table:
        """Table of balanced questions: each task keeps as many as the rarest has.

        Raises:
            InvalidValueError: the conditions did not answer the same questions.
        """
        first = next(iter(by_condition.values()))
        keys = [(record["picture"], record["question"]) for record in first]
        for name, records in by_condition.items():
            if [(record["picture"], record["question"]) for record in records] != keys:
                raise InvalidValueError(f"Condition {name!r} answered other questions than the first; run it again.")
        places = balanced([record["task"] for record in first])
        chosen = {name: [records[place] for place in places] for name, records in by_condition.items()}
        questions = next(iter(chosen.values()))
        clusters = [record["picture"] for record in questions]
        tasks = np.array([record["task"] for record in questions])
        return cls(questions, tasks, chosen, Bootstrap.over(clusters, resamples, seed))

    def scores(self, *names: str) -> Scores:
        """(n,) score of each question, averaged over the named conditions.

        The named conditions are one method under several seeds.
        """
        scores = [[record["score"] for record in self.records[name]] for name in names]
        mean: Scores = np.array(scores, dtype=np.float64).mean(axis=0)
        return mean

    def mean(self, scores: Scores) -> dict[str, Any]:
        """Mean over all questions, with a bootstrap interval; all tasks weigh the same."""
        low, high = self.bootstrap.interval(scores)
        return _rounded({"score": float(scores.mean()), "low": low, "high": high})

    def by_task(self, scores: Scores) -> dict[str, dict[str, Any]]:
        """Mean of each task, with Wilson's interval, or the bootstrap's for partial marks."""
        results: dict[str, dict[str, Any]] = {}
        for task in ordered(self.tasks.tolist()):
            mine = scores[self.tasks == task]
            binary = bool(np.isin(mine, (0.0, 1.0)).all())
            if binary:
                low, high = wilson(int(mine.sum()), len(mine))
            else:
                low, high = self.bootstrap.interval(np.where(self.tasks == task, scores, np.nan))
            values = _rounded({"score": float(mine.mean()), "low": low, "high": high})
            results[task] = {"n": len(mine), **values, "interval": "wilson" if binary else "bootstrap"}
        return results

    def difference(self, first: Sequence[str], second: Sequence[str]) -> dict[str, Any]:
        """First minus second, paired by question, with a bootstrap interval.

        McNemar's test is added where `first` and `second` are one condition each. The test leaves captions out, because
        they are not right or wrong.
        """
        a, b = self.scores(*first), self.scores(*second)
        low, high = self.bootstrap.interval(a - b)
        result: dict[str, Any] = _rounded({"difference": float((a - b).mean()), "low": low, "high": high})
        if len(first) == len(second) == 1:
            binary = self.tasks != "caption"
            test = mcnemar(a[binary] == 1.0, b[binary] == 1.0)
            result["mcnemar"] = {"only_first": test.only_first, "only_second": test.only_second, "p": test.p}
        return result

    def stage_two(self, name: str) -> dict[str, Any]:
        """Number of questions whose visual tokens all left the decoder, by layer."""
        layers = Counter(record["dropped_after"] for record in self.records[name])
        dropped = {str(layer): count for layer, count in sorted((k, v) for k, v in layers.items() if k is not None)}
        return {"asked": len(self.questions), "dropped": sum(dropped.values()), "by_layer": dropped}


def balanced(tasks: Sequence[str]) -> list[int]:
    """0-based indices of questions, equally many of each task: as the rarest has."""
    least = min(Counter(tasks).values())
    counts: Counter[str] = Counter()
    places = []
    for place, task in enumerate(tasks):
        counts[task] += 1
        if counts[task] <= least:
            places.append(place)
    return places


def ordered(tasks: Sequence[str]) -> list[str]:
    """The distinct tasks, in the order of `todre.scenes.TASKS`."""
    return sorted(set(tasks), key=lambda task: TASKS.index(task) if task in TASKS else len(TASKS))


def _rounded(values: dict[str, float]) -> dict[str, Any]:
    return {name: round(value, 6) for name, value in values.items()}
