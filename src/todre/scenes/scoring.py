"""Scores of a model's answers."""

from __future__ import annotations

import re

from todre.scenes.objects import Question
from todre.scenes.vocabulary import COLOURS, SHAPES

_LISTING = ("caption", "sentence")
_PAIR = re.compile(rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPES)})\b")


def score(question: Question, prediction: str) -> float:
    """Score of an answer, from 0.0 to 1.0.

    A caption, as a list or a sentence, gets an F1 score over the pairs of colour and shape that it mentions. Any other
    answer gets 1.0 if it equals the true one, apart from letter case, spaces and a final full stop.
    """
    if question.task in _LISTING:
        return pairs_f1(question.answer, prediction)
    return float(_normalise(prediction) == _normalise(question.answer))


def can_score(question: Question) -> bool:
    """False for a caption whose true answer names no pair of colour and shape.

    Any answer that names none would be right.
    """
    return question.task not in _LISTING or bool(mentioned_pairs(question.answer))


def pairs_f1(truth: str, prediction: str) -> float:
    """F1 score of the pairs of colour and shape that a caption mentions."""
    return _f1(mentioned_pairs(truth), mentioned_pairs(prediction))


def mentioned_pairs(text: str) -> set[tuple[str, str]]:
    """The distinct (colour, shape) pairs named in `text`."""
    return set(_PAIR.findall(text.lower()))


def _f1(true: set[tuple[str, str]], mentioned: set[tuple[str, str]]) -> float:
    if not true or not mentioned:
        return float(not true and not mentioned)
    return 2 * len(true & mentioned) / (len(true) + len(mentioned))


def _normalise(text: str) -> str:
    return " ".join(text.lower().strip().rstrip(".").split())
