"""Agreement and correctness of what was read with few tokens, with paired intervals over formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import intervals
import numpy as np
from formulas import read_as
from latex_runs import SHARES
from numpy.typing import NDArray

from todre.evaluate.statistics import Bootstrap

PAIRS = (("todre-v1", "todre"), ("todre-v1", "uniform"), ("todre", "todre, random pivot"), ("todre-v1", "divprune"))
"""Rules that are compared with each other; all are compared with random."""


def distances(first: Sequence[str], second: Sequence[str]) -> NDArray[np.int64]:
    """Levenshtein distance of each pair of texts, (n,)."""
    lengths = np.array([len(text) for text in first]), np.array([len(text) for text in second])
    a, b = _codes(first, -1), _codes(second, -2)
    steps = np.arange(b.shape[1] + 1)
    row = np.tile(steps, (len(first), 1))
    found = np.where(lengths[0] == 0, lengths[1], -1)
    for at in range(a.shape[1]):
        changed = np.minimum(row[:, 1:] + 1, row[:, :-1] + (a[:, at, None] != b))
        row = np.concatenate([np.full((len(first), 1), at + 1), changed], axis=1)
        row = np.minimum.accumulate(row - steps, axis=1) + steps
        found = np.where(lengths[0] == at + 1, row[np.arange(len(first)), lengths[1]], found)
    return found


def _codes(texts: Sequence[str], padding: int) -> NDArray[np.int64]:
    codes = np.full((len(texts), max(map(len, texts), default=0)), padding)
    for row, text in enumerate(texts):
        codes[row, : len(text)] = [ord(letter) for letter in text]
    return codes


def similarity(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
    """Edit similarity of each pair of texts, (n,): 1 - distance / length of the longer one."""
    longer = np.maximum([len(text) for text in first], [len(text) for text in second])
    return 1 - distances(first, second) / np.maximum(longer, 1)


def summarised(chunks: Sequence[Mapping[str, Any]], tokens: int) -> dict[str, Any]:
    """The document's part about the image-to-LaTeX model.

    Args:
        chunks: answers of all chunks, in order.
        tokens: visual tokens of a picture.
    """
    truth = [read_as(text) for chunk in chunks for text in chunk["formulas"]]
    unpruned = [text for chunk in chunks for text in chunk["unpruned"]]
    number = np.array([chunk["number"] for chunk in chunks for _ in chunk["formulas"]])
    right = np.array([read_as(text) == true for text, true in zip(unpruned, truth, strict=True)])
    ended = [end for chunk in chunks for end in chunk["ended"]]
    bootstrap = Bootstrap.over(range(len(truth)))
    values: dict[tuple[str, float], dict[str, NDArray[np.float64]]] = {}
    for name in chunks[0]["pruned"]:
        for at, share in enumerate(SHARES):
            texts = [text for chunk in chunks for text in chunk["pruned"][name][at]]
            values[name, share] = _measured(texts, unpruned, truth, right)
    rows = [
        {"rule": name, "share": share, "kept": max(1, round(share * tokens)), **_row(each, bootstrap, number)}
        | _minus(each, values["random", share], bootstrap, skip=name == "random")
        for (name, share), each in values.items()
    ]
    pairs = [
        {"first": first, "second": second, "share": share,
         **{measure: intervals.difference(values[first, share][measure] - values[second, share][measure], bootstrap)
            for measure in ("similarity", "still_right")}}
        for first, second in PAIRS
        for share in SHARES
    ]  # fmt: skip
    return {
        "formulas": len(truth), "sets": len(set(number.tolist())), "visual_tokens": tokens,
        "unpruned": {
            "right": intervals.mean(right, bootstrap), "ended": int(sum(ended)),
            "characters": float(np.mean([len(text) for text in unpruned])),
            "similarity_to_truth": intervals.mean(similarity([read_as(text) for text in unpruned], truth), bootstrap),
        },
        "rows": rows, "pairs": pairs,
    }  # fmt: skip


def _measured(
    texts: Sequence[str], unpruned: Sequence[str], truth: Sequence[str], right: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Measures of each formula; those of truth are NaN where the unpruned model is wrong."""
    read = [read_as(text) for text in texts]
    same = np.array([mine == true for mine, true in zip(read, truth, strict=True)], dtype=np.float64)
    return {
        "similarity": similarity(texts, unpruned),
        "exact": np.array([mine == other for mine, other in zip(texts, unpruned, strict=True)], dtype=np.float64),
        "similarity_to_truth": np.where(right, similarity(read, truth), np.nan),
        "still_right": np.where(right, same, np.nan),
    }


def _row(values: Mapping[str, NDArray[np.float64]], bootstrap: Bootstrap, number: NDArray[np.int64]) -> dict[str, Any]:
    row: dict[str, Any] = {name: intervals.mean(each, bootstrap) for name, each in values.items()}
    row["similarity_by_set"] = [
        round(float(values["similarity"][number == each].mean()), 4) for each in sorted(set(number.tolist()))
    ]
    return row


def _minus(
    values: Mapping[str, NDArray[np.float64]], others: Mapping[str, NDArray[np.float64]], boot: Bootstrap, skip: bool
) -> dict[str, Any]:
    if skip:
        return {}
    return {
        "minus_random": {
            name: intervals.difference(values[name] - others[name], boot) for name in ("similarity", "still_right")
        }
    }
