"""From marks of single questions to a task's score, so that the score of any resampled set is one matrix product.

Every benchmark's score here is a function of sums over its questions: a mean, an F1, a share of pairs. A `Total` says
which numbers each question brings (`parts`) and what is made of their sums (`value`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
STRATEGIES = ("random", "popular", "adversarial")


@dataclass(frozen=True)
class Marked:
    """A question with its mark.

    Attributes:
        score: from 0 to 1.
        said: `yes`, `no`, `other`, or empty where answers are not read so.
        truth: `yes` or `no`, or empty.
        kind: POPE's strategy, MME's category.
        pair: names the two questions of MME that belong together.
    """

    score: float
    answer_class: str = ""
    truth: str = ""
    kind: str = ""
    pair: str = ""


class Total(Protocol):
    """A task's score as a function of sums."""

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """(n, c) float64: what each question adds to the sums."""
        ...

    def value(self, sums: Numbers) -> Numbers:
        """(…) score from 0 to 1 of sums (…, c); NaN where nothing was asked."""
        ...

    def details(self, sums: Numbers) -> dict[str, Any]:
        """What else the benchmark reports, of the sums (c,)."""
        ...


@dataclass(frozen=True)
class Mean(Total):
    """The mean mark."""

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """The mark, and one."""
        return np.array([[each.score, 1.0] for each in marked], dtype=np.float64).reshape(-1, 2)

    def value(self, sums: Numbers) -> Numbers:
        """The first sum over the second."""
        return ratio(sums[..., 0], sums[..., 1])

    def details(self, sums: Numbers) -> dict[str, Any]:
        """None."""
        return {}


@dataclass(frozen=True)
class Pope(Total):
    """POPE's F1, the mean over its strategies (Li et al., 2023, arXiv 2305.10355); "yes" is the positive answer.

    Args:
        kinds: the strategies that were asked, in order.
    """

    kinds: tuple[str, ...] = STRATEGIES

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """For each strategy: true positives, false positives, true negatives, false negatives."""
        parts = np.zeros((len(marked), 4 * len(self.kinds)))
        for row, each in enumerate(marked):
            yes, true = each.answer_class == "yes", each.truth == "yes"
            place = (0 if true else 1) if yes else (3 if true else 2)
            parts[row, 4 * self.kinds.index(each.kind) + place] = 1.0
        return parts

    def value(self, sums: Numbers) -> Numbers:
        """F1 = 2·TP / (2·TP + FP + FN), the mean over strategies."""
        tp, fp, _, fn = (sums[..., place::4] for place in range(4))
        scores: Numbers = ratio(2 * tp, 2 * tp + fp + fn).mean(axis=-1)
        return scores

    def details(self, sums: Numbers) -> dict[str, Any]:
        """For each strategy accuracy, precision, recall, F1 and the share of answers that are yes."""
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
    """MME's accuracy and accuracy+ (Fu et al., 2023, arXiv 2306.13394), halved and averaged over its categories.

    Accuracy counts questions, accuracy+ counts pairs about one picture of which both answers are right. MME itself adds
    the two in per cent, and adds the categories: that is `details`' `points`.

    Args:
        kinds: the categories, in order.
    """

    kinds: tuple[str, ...]

    def parts(self, marked: Sequence[Marked]) -> Numbers:
        """For each category: right, asked, both right, pairs; the last two on a pair's first question."""
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
        """(accuracy + accuracy+) / 2, the mean over categories."""
        right, questions, both, pairs = (sums[..., place::4] for place in range(4))
        scores: Numbers = ((ratio(right, questions) + ratio(both, pairs)) / 2).mean(axis=-1)
        return scores

    def details(self, sums: Numbers) -> dict[str, Any]:
        """For each category accuracy, accuracy+ and MME's points out of 200."""
        found = {}
        for place, kind in enumerate(self.kinds):
            right, questions, both, pairs = sums[4 * place : 4 * place + 4]
            accuracy, plus = finite(ratio(right, questions)), finite(ratio(both, pairs))
            points = None if accuracy is None or plus is None else round(100 * (accuracy + plus), 4)
            found[kind] = {"accuracy": accuracy, "accuracy_plus": plus, "points": points}
        return found


def total_of(metric: str, kinds: Sequence[str]) -> Total:
    """How the marks of `metric` become a task's score; `kinds` are the questions' strategies or categories."""
    if metric == "pope":
        return Pope(tuple(kind for kind in (*STRATEGIES, *sorted(set(kinds) - set(STRATEGIES))) if kind in set(kinds)))
    if metric == "mme":
        return Mme(tuple(dict.fromkeys(kinds)))
    return Mean()


def ratio(part: Any, whole: Any) -> Numbers:
    """`part` / `whole`, NaN where the whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    result: Numbers = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
    return result


def finite(value: Any) -> float | None:
    """Rounded to six places; None for NaN."""
    number = float(value)
    return None if np.isnan(number) else round(number, 6)
