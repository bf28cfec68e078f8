"""Reading free answers to yes-or-no questions, as POPE and MME do."""

from __future__ import annotations

from collections.abc import Sequence

from todre.evaluate.metrics.words import plain


def pope_says(answer: str) -> str:
    """POPE's reading: `no` if the first sentence holds "no" or "not", else `yes`.

    Based on "Evaluating Object Hallucination in Large Vision-Language Models" (Li et al., 2023, arXiv 2305.10355),
    whose evaluation takes every answer without a negation as yes.
    """
    words = answer.partition(".")[0].replace(",", "").lower().split()
    return "no" if "no" in words or "not" in words else "yes"


def pope_mark(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer, as POPE reads it, is the reference; else 0.0."""
    return float(pope_says(answer) == plain(references[0]))


def mme_says(answer: str) -> str:
    """MME's reading of an answer, or of its first four letters: `yes`, `no`, `other`.

    Based on "MME" (Fu et al., 2023, arXiv 2306.13394), whose evaluation reads answers so.
    """
    answer = answer.strip().lower()
    if answer in ("yes", "no"):
        return answer
    start = answer[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def mme_mark(answer: str, references: Sequence[str]) -> float:
    """1.0 if the answer, as MME reads it, is the reference; else 0.0."""
    return float(mme_says(answer) == plain(references[0]))
