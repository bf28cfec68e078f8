"""Score a model's words against the true answer."""

from __future__ import annotations

import re

from todre.scenes.objects import Question
from todre.scenes.vocabulary import COLOURS, SHAPES

_PAIR = re.compile(rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPES)})\b")


def score(question: Question, prediction: str) -> float:
    """1.0 or 0.0 for an exact answer (letter case, spaces and a final full stop aside); for captions an F1.

    The F1 compares the set of colour-shape pairs that the prediction mentions with the true set.
    """
    if question.task == "caption":
        return pairs_f1(question.answer, prediction)
    return float(_normalise(prediction) == _normalise(question.answer))


def pairs_f1(truth: str, prediction: str) -> float:
    """F1 of the colour-shape pairs that `prediction` mentions against those of `truth`."""
    return _f1(mentioned_pairs(truth), mentioned_pairs(prediction))


def mentioned_pairs(text: str) -> set[tuple[str, str]]:
    """The distinct (colour, shape) pairs named in `text`."""
    return set(_PAIR.findall(text.lower()))


def _f1(true: set[tuple[str, str]], said: set[tuple[str, str]]) -> float:
    if not true or not said:
        return float(not true and not said)
    return 2 * len(true & said) / (len(true) + len(said))


def _normalise(text: str) -> str:
    return " ".join(text.lower().strip().rstrip(".").split())
