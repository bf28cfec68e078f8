"""Task scores as functions of sums, so that resampling is one matrix product.

Every benchmark's score here is a function of sums over its questions: a mean, an F1, a share of pairs. A `Total` gives
each question's summands (`parts`), and turns the sums into the score (`value`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
STRATEGIES = ("random", "popular", "adversarial")
MOST_KINDS = 32
"""Largest number of kinds that a mean is broken down by.

With more kinds, it is given whole.
"""


@dataclass(frozen=True)
class Marked:
    """A marked answer to one question.

    Attributes:
        score: from 0 to 1.
        answer_class: `yes`, `no` or `other`, as the metric reads the answer; empty for other metrics.
        truth: `yes` or `no`; empty for other metrics.
        kind: POPE's strategy, MME's category, or what a task breaks its score down by.
        pair: name of the MME pair that the question belongs to.
    """

    score: float
    answer_class: str = ""
    truth: str = ""
    kind: str = ""
    pair: str = ""


class Total(Protocol):
    """The score of a task, as a function of sums over its questions."""

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """(n, c) float64, what each question adds to the sums."""
        ...

    def value(self, sums: Numbers) -> Numbers:
        """Score from 0 to 1 of sums (…, c); NaN where there are no questions."""
        ...

    def details(self, sums: Numbers) -> dict[str, Any]:
        """Other numbers that the benchmark reports, from sums (c,)."""
        ...


@dataclass(frozen=True)
class Mean(Total):
    """The mean mark, whatever the kinds.

    Args:
        kinds: kinds of questions, whose means are given apart; empty where the questions have none.
    """

    kinds: tuple[str, ...] = ()

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """(n, 2 + 2·kinds) float64: a mark, and 1 to count it, overall and by kind."""
        parts = np.zeros((len(marked), 2 + 2 * len(self.kinds)))
        for row, each in enumerate(marked):
            parts[row, :2] = each.score, 1.0
            if each.kind in self.kinds:
                start = 2 + 2 * self.kinds.index(each.kind)
                parts[row, start : start + 2] = each.score, 1.0
        return parts

    def value(self, sums: Numbers) -> Numbers:
        """Sum of the marks over the number of questions."""
        return ratio(sums[..., 0], sums[..., 1])

    def details(self, sums: Numbers) -> dict[str, Any]:
        """Each kind's mean mark and number of questions."""
        found = {}
        for place, kind in enumerate(self.kinds):
            right, questions = sums[2 + 2 * place : 4 + 2 * place]
            found[kind] = {"mean": finite(ratio(right, questions)), "questions": int(questions)}
        return found


@dataclass(frozen=True)
class Pope(Total):
    """POPE's F1, averaged over its strategies, with "yes" as the positive answer.

    Li et al., 2023, arXiv 2305.10355.

    Args:
        kinds: the strategies of the questions, in order.
    """

    kinds: tuple[str, ...] = STRATEGIES

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """(n, 4·kinds): true and false positives, true and false negatives by strategy."""
        parts = np.zeros((len(marked), 4 * len(self.kinds)))
        for row, each in enumerate(marked):
            yes, true = each.answer_class == "yes", each.truth == "yes"
            place = (0 if true else 1) if yes else (3 if true else 2)
            parts[row, 4 * self.kinds.index(each.kind) + place] = 1.0
        return parts

    def value(self, sums: Numbers) -> Numbers:
        """F1 = 2·TP / (2·TP + FP + FN), averaged over strategies."""
        tp, fp, _, fn = (sums[..., place::4] for place in range(4))
        scores: Numbers = ratio(2 * tp, 2 * tp + fp + fn).mean(axis=-1)
        return scores

    def details(self, sums: Numbers) -> dict[str, Any]:
        """Accuracy, precision, recall, F1 and share of yes answers of each strategy."""
        found = {}
        for place, kind in enumerate(self.kinds):
            tp, fp, tn, fn = sums[4 * place : 4 * place + 4]
            values = {
                "accuracy": ratio(tp + tn, tp + fp + tn + fn),
                "precision": ratio(tp, tp + fp),
                "recall": ratio(tp, tp + fn),
                "f1": ratio(2 * tp, 2 * tp + fp + fn),
                "yes_ratio": ratio(tp + fp, tp + fp + tn + fn),
            }
            found[kind] = {name: finite(value) for name, value in values.items()}
        return found


@dataclass(frozen=True)
class Mme(Total):
    """MME's accuracy and accuracy+, halved and averaged over its categories.

    Fu et al., 2023, arXiv 2306.13394.

    Accuracy is the share of questions answered right; accuracy+ is the share of pairs of questions about one picture
    with both answered right. MME itself adds accuracy and accuracy+ in per cent; `details` gives this sum for each
    category as `points`.

    Args:
        kinds: the categories, in order.
    """

    kinds: tuple[str, ...]

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """(n, 4·kinds): right, questions, pairs with both right, and pairs, by category.

        A pair is counted at its first question.
        """
        pairs: dict[tuple[str, str], list[int]] = {}
        for row, each in enumerate(marked):
            pairs.setdefault((each.kind, each.pair), []).append(row)
        parts = np.zeros((len(marked), 4 * len(self.kinds)))
        for (kind, _), rows in pairs.items():
            start = 4 * self.kinds.index(kind)
            for row in rows:
                parts[row, start : start + 2] = marked[row].score, 1.0
            parts[rows[0], start + 2 : start + 4] = float(all(marked[row].score == 1.0 for row in rows)), 1.0
        return parts

    def value(self, sums: Numbers) -> Numbers:
        """(accuracy + accuracy+) / 2, averaged over categories."""
        right, questions, both, pairs = (sums[..., place::4] for place in range(4))
        scores: Numbers = ((ratio(right, questions) + ratio(both, pairs)) / 2).mean(axis=-1)
        return scores

    def details(self, sums: Numbers) -> dict[str, Any]:
        """Each category's accuracy, accuracy+ and MME points out of 200."""
        found = {}
        for place, kind in enumerate(self.kinds):
            right, questions, both, pairs = sums[4 * place : 4 * place + 4]
            accuracy, plus = finite(ratio(right, questions)), finite(ratio(both, pairs))
            points = None if accuracy is None or plus is None else round(100 * (accuracy + plus), 4)
            found[kind] = {"accuracy": accuracy, "accuracy_plus": plus, "points": points}
        return found


def total_of(metric: str, kinds: Sequence[str]) -> Total:
    """The total that makes a task's score from marks of `metric`.

    Args:
        metric: name of the metric.
        kinds: each question's POPE strategy, MME category, or other kind; empty for none.
    """
    if metric == "pope":
        return Pope(tuple(kind for kind in (*STRATEGIES, *sorted(set(kinds) - set(STRATEGIES))) if kind in set(kinds)))
    if metric == "mme":
        return Mme(tuple(dict.fromkeys(kinds)))
    named = tuple(sorted({kind for kind in kinds if kind}))
    return Mean(named if len(named) <= MOST_KINDS else ())


def ratio(part: Any, whole: Any) -> Numbers:
    """Quotient of `part` and `whole`, NaN where the whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    result: Numbers = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
    return result


def finite(value: Any) -> float | None:
    """`value` rounded to six places; None for NaN."""
    number = float(value)
    return None if np.isnan(number) else round(number, 6)
