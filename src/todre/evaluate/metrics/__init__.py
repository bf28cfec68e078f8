"""Metrics: marks of single answers, as benchmarks define them, and task scores.

A module belongs here if it turns an answer and its references into a mark (`words`, `vqa`, `yes_no`), or marks into a
task's score (`totals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from todre.errors import InvalidValueError
from todre.evaluate.metrics.totals import Marked, Total, total_of
from todre.evaluate.metrics.vqa import vqa_accuracy
from todre.evaluate.metrics.words import anls, exact_match, plain, relaxed_accuracy
from todre.evaluate.metrics.yes_no import mme_mark, mme_says, pope_mark, pope_says
from todre.scenes.scoring import pairs_f1

__all__ = ["MARKS", "Marked", "Total", "check_metric", "classes_of", "mark", "total_of"]

MARKS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact": exact_match,
    "vqa": vqa_accuracy,
    "anls": anls,
    "relaxed": relaxed_accuracy,
    "pope": pope_mark,
    "mme": mme_mark,
    "pairs-f1": lambda answer, references: max(pairs_f1(reference, answer) for reference in references),
}
"""Metrics by name: functions from (answer, references) to a mark from 0 to 1."""
_READ = {"pope": pope_says, "mme": mme_says}


def check_metric(name: str) -> str:
    """`name` itself, if it is the name of a metric.

    Raises:
        InvalidValueError: there is no such metric.
    """
    if name not in MARKS:
        raise InvalidValueError(f"There is no metric {name!r}; the metrics are {', '.join(MARKS)}.")
    return name


def mark(metric: str, answer: str, references: Sequence[str]) -> float:
    """Mark of one answer, from 0 to 1, rounded to six places."""
    return round(MARKS[metric](answer, references), 6)


def classes_of(metric: str, answer: str, references: Sequence[str]) -> tuple[str, str]:
    """The class that a yes-or-no metric reads from the answer, and the true class.

    Returns:
        Two texts, each `yes`, `no` or `other`; two empty texts if the metric is not a yes-or-no metric.
    """
    read = _READ.get(metric)
    return ("", "") if read is None else (read(answer), plain(references[0]))
