"""Summaries of answers: scores, retention against no pruning, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from todre.evaluate.grid import Row, facts
from todre.evaluate.metrics import Marked, Total, classes_of, mark, total_of
from todre.evaluate.metrics.totals import finite
from todre.evaluate.statistics import Bootstrap, items_needed, mcnemar, percentiles
from todre.evaluate.tasks import Item

Numbers = NDArray[np.float64]
DIFFERENCES = (0.01, 0.02, 0.05)
"""Differences of accuracy for which a result says how many questions show them."""
_MOST_DRAWS = 4 * 10**7


@dataclass(frozen=True)
class Sample:
    """An answer to one item under one condition.

    Attributes:
        prediction, score: the answer, and its mark from 0 to 1.
        visual_tokens: number of visual tokens that entered the decoder.
        layer_mean: number of visual tokens that a decoder layer ran on, averaged over layers.
        dropped_after: count of layers run before all visual tokens were dropped, or None.
    """

    prediction: str
    score: float
    visual_tokens: int
    layer_mean: float
    dropped_after: int | None


@dataclass(frozen=True)
class _Scores:
    """Scores of a row by task, from the questions and from every resample.

    Attributes:
        value: (tasks,) scores from the questions.
        drawn: (resamples, tasks) scores from the resamples.
        of_draws: (draws,) score of each random draw of the method, averaged over tasks.
        details: other numbers of each task.
    """

    value: Numbers
    drawn: Numbers
    of_draws: Numbers
    details: tuple[dict[str, Any], ...]


class Summary:
    """Scores of rows on the same items.

    Args:
        items: the questions, in the order of the samples.
        seed: seed of the bootstrap over pictures.
        resamples: number of resamples; fewer are used where there are very many pictures.
    """

    def __init__(self, items: Sequence[Item], seed: int, resamples: int = 10_000) -> None:
        self.items = items
        self._kept: dict[tuple[str, Any], tuple[_Scores, Numbers]] = {}
        self.tasks = list(dict.fromkeys(item.task for item in items))
        self.places = [np.array([p for p, item in enumerate(items) if item.task == task]) for task in self.tasks]
        pictures = [item.picture for item in items]
        self.resamples = min(resamples, max(100, _MOST_DRAWS // len(set(pictures))))
        self.bootstrap = Bootstrap.over(pictures, self.resamples, seed) if len(set(pictures)) > 1 else None
        self._totals = [self._total(places) for places in self.places]
        self._none: tuple[_Scores, Numbers] | None = None

    def row(self, row: Row, samples: Sequence[Sequence[Sample]]) -> dict[str, Any]:
        """Entry of a row in the result, ready for JSON.

        Give the row of no pruning first, since all other rows are compared with it.

        Args:
            row: method and budget.
            samples: samples of each draw, in the order of the items.
        """
        scores, marks = self._kept.get((row.name, row.budget)) or self._scored(samples)
        flat = [sample for draw in samples for sample in draw]
        result: dict[str, Any] = {
            **facts(row),
            "visual_tokens": finite(np.mean([sample.visual_tokens for sample in flat])),
            "layer_mean": finite(np.mean([sample.layer_mean for sample in flat])),
            "dropped": finite(np.mean([sample.dropped_after is not None for sample in flat])),
            "score": self._interval(scores.value.mean(), scores.drawn.mean(axis=1)),
            "tasks": {
                task: self._interval(scores.value[place], scores.drawn[:, place])
                | ({"details": scores.details[place]} if scores.details[place] else {})
                for place, task in enumerate(self.tasks)
            },
        }
        if len(samples) > 1:
            result["score_of_each_draw"] = [finite(score) for score in scores.of_draws]
        if self._none is None:
            self._none = scores, marks[0]
        else:
            result["against_none"] = self._against(*self._none, scores, marks)
        others = {
            name: self._beside(scores, marks, other)
            for (name, budget), other in self._kept.items()
            if budget == row.budget and name != row.name
        }
        return result | ({"against": others} if others else {})

    def keep(self, row: Row, samples: Sequence[Sequence[Sample]]) -> None:
        """Keep a row, so that later rows with the same budget are compared with it."""
        self._kept[row.name, row.budget] = self._scored(samples)

    def _scored(self, samples: Sequence[Sequence[Sample]]) -> tuple[_Scores, Numbers]:
        marks: Numbers = np.array([[sample.score for sample in draw] for draw in samples])
        return self._scores(samples), marks

    def _total(self, places: NDArray[np.int64]) -> Total:
        mine = [self.items[place] for place in places]
        return total_of(mine[0].metric, [item.kind for item in mine])

    def _scores(self, draws: Sequence[Sequence[Sample]]) -> _Scores:
        """Each task's score, averaged over draws; the details are of the first draw."""
        value = np.zeros(len(self.tasks))
        drawn = np.zeros((self.resamples if self.bootstrap else 1, len(self.tasks)))
        details: list[dict[str, Any]] = []
        of_draws: list[float] = []
        for samples in draws:
            parts = [
                total.parts([_marked(self.items[place], samples[place]) for place in places])
                for total, places in zip(self._totals, self.places, strict=True)
            ]
            sums = [part.sum(axis=0) for part in parts]
            scores = [float(total.value(each)) for total, each in zip(self._totals, sums, strict=True)]
            value += scores
            of_draws.append(float(np.mean(scores)))
            drawn += self._resampled(parts)
            details = details or [total.details(each) for total, each in zip(self._totals, sums, strict=True)]
        return _Scores(value / len(draws), drawn / len(draws), np.array(of_draws), tuple(details))

    def _resampled(self, parts: Sequence[Numbers]) -> Numbers:
        """(resamples, tasks) scores; one row of NaN where there is only one picture."""
        if self.bootstrap is None:
            return np.full((1, len(parts)), np.nan)
        whole = np.zeros((len(self.items), sum(part.shape[1] for part in parts)))
        starts = np.cumsum([0, *(part.shape[1] for part in parts)])
        for place, part in enumerate(parts):
            whole[self.places[place], starts[place] : starts[place + 1]] = part
        sums = self.bootstrap.sums(whole)
        scores = [total.value(sums[:, starts[place] : starts[place + 1]]) for place, total in enumerate(self._totals)]
        return np.stack(scores, axis=1)

    def _against(self, none: _Scores, before: Numbers, scores: _Scores, marks: Numbers) -> dict[str, Any]:
        """Difference and retention against no pruning, and McNemar's test of every draw.

        Both use the same items and resamples.
        """
        ratio, ratios = _ratio(scores.value, none.value), _ratio(scores.drawn, none.drawn)
        binary = np.isin(before, (0.0, 1.0)) & np.isin(marks, (0.0, 1.0)).all(axis=0)
        tests = [mcnemar(before[binary] == 1.0, draw[binary] == 1.0) for draw in marks]
        discordant = (
            float(np.mean([test.only_first + test.only_second for test in tests])) / int(binary.sum())
            if binary.any()
            else 0.0
        )
        return {
            "difference": self._interval((scores.value - none.value).mean(), (scores.drawn - none.drawn).mean(axis=1)),
            "retention": self._interval(_mean(ratio), _mean(ratios)),
            "tasks": {
                task: {
                    "difference": self._interval(
                        scores.value[place] - none.value[place], scores.drawn[:, place] - none.drawn[:, place]
                    ),
                    "retention": self._interval(ratio[place], ratios[:, place]),
                }
                for place, task in enumerate(self.tasks)
            },
            "mcnemar": [
                {"only_none": test.only_first, "only_this": test.only_second, "p": finite(test.p)} for test in tests
            ],
            "discordant": finite(discordant),
            "items_needed": {f"{value:g}": items_needed(discordant, value) for value in DIFFERENCES},
        }

    def _beside(self, scores: _Scores, marks: Numbers, other: tuple[_Scores, Numbers]) -> dict[str, Any]:
        """Difference from another method, and McNemar's test where neither draws.

        Both use the same items and resamples.
        """
        than, before = other
        found: dict[str, Any] = {
            "difference": self._interval((scores.value - than.value).mean(), (scores.drawn - than.drawn).mean(axis=1)),
            "tasks": {
                task: self._interval(
                    scores.value[place] - than.value[place], scores.drawn[:, place] - than.drawn[:, place]
                )
                for place, task in enumerate(self.tasks)
            },
        }
        if len(marks) == len(before) == 1:
            binary = np.isin(before[0], (0.0, 1.0)) & np.isin(marks[0], (0.0, 1.0))
            test = mcnemar(before[0][binary] == 1.0, marks[0][binary] == 1.0)
            found["mcnemar"] = {"only_other": test.only_first, "only_this": test.only_second, "p": finite(test.p)}
        return found

    def _interval(self, value: Any, drawn: Numbers) -> dict[str, Any]:
        found = percentiles(drawn) if self.bootstrap else None
        low, high = (None, None) if found is None else (finite(found.low), finite(found.high))
        return {"value": finite(value), "low": low, "high": high}


def sample_of(item: Item, reply: Sequence[Any]) -> Sample:
    """The sample of one reply to an item."""
    text, tokens, layer_mean, dropped = reply
    return Sample(text, mark(item.metric, text, item.references), tokens, layer_mean, dropped)


def _marked(item: Item, sample: Sample) -> Marked:
    answer_class, truth = classes_of(item.metric, sample.prediction, item.references)
    return Marked(sample.score, answer_class, truth, item.kind, item.pair)


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    found: Numbers = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found


def _mean(ratios: Numbers) -> Numbers:
    """Mean of the known ratios over tasks (the last axis); NaN where none is known."""
    known = ~np.isnan(ratios)
    count = known.sum(axis=-1)
    total = np.where(known, ratios, 0.0).sum(axis=-1)
    found: Numbers = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return found
