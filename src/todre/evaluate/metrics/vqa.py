"""VQA accuracy: agreement with the annotators after normalising the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_CONTRACTED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's
I'm I've isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't o'clock oughtn't shan't she's
should've shouldn't somebody's someone's something's that's there'd there's they'd they'll they're they've
'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll who's
who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_CONTRACTIONS = {word.replace("'", "").lower(): word.lower() for word in _CONTRACTED.split()}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"(\d),(\d)")
_PERIOD = re.compile(r"(?<!\d)\.|\.(?!\d)")


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """VQA accuracy, from 0 to 1: min(1, agreeing annotators / 3), averaged.

    The average is over all sets that leave one annotator out.

    Based on "VQA: Visual Question Answering" (Antol et al., ICCV 2015, arXiv 1505.00468), section 5, in the form of the
    benchmark's own evaluation. With m of ten annotators who agree with the answer, the mark is
    min(1, ((10 − m)·min(m, 3) + m·min(m − 1, 3)) / 30). Fewer references count as fewer annotators; the answer must
    equal a single reference.

    Args:
        answer: the model's answer.
        references: one answer for each annotator, ten in the benchmark.
    """
    normalised = normalise(answer)
    agree = [normalise(reference) == normalised for reference in references]
    if len(agree) < 2:
        return float(any(agree))
    marks = [min(1.0, (sum(agree) - one) / 3.0) for one in agree]
    return sum(marks) / len(marks)


def normalise(text: str) -> str:
    """Normalised answer: lower case, no articles or punctuation, digits for numbers.

    Contractions get their apostrophes back.

    These are the benchmark's rules, applied to the answer and to every reference. A punctuation mark is removed beside
    a space, or where the text has a number with a thousands comma; elsewhere it becomes a space. Full stops are kept
    within numbers only.
    """
    words = _without_punctuation(" ".join(text.split())).lower().split()
    words = [_NUMBERS.get(word, word) for word in words]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    whole = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        text = text.replace(mark, "" if beside_space or whole else " ")
    return _PERIOD.sub("", text)
