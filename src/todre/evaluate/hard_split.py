"""Questions split by whether a downsampled picture suffices, as in VTC-Bench.

Among the questions that the unpruned model answers right, those that it answers wrong about a downsampled picture are
hard, the others simple (Liao et al. 2025, 2510.07143). Methods of the same budget are scored on both.

The control's failure defines the hard questions. So its score there is 0 by construction, and it must not be compared
with methods on them; the split ranks these methods among themselves alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from todre.evaluate.grid import Row
from todre.evaluate.metrics.totals import finite
from todre.evaluate.statistics import wilson
from todre.evaluate.summary import Sample
from todre.evaluate.tasks import Item

RIGHT = 0.5
"""Least mark of an answer that counts as right."""
STATEMENT = (
    "Hard are questions that the unpruned model answers right and the control answers wrong, so the control's score "
    "there is 0 by construction: never compare methods with it there."
)

Right = NDArray[np.bool_]
Samples = Sequence[Sequence[Sample]]
"""Samples of each draw of a row, in the order of the items."""


def hard_splits(items: Sequence[Item], answered: Sequence[tuple[Row, Samples]]) -> list[dict[str, Any]]:
    """A split for each row that resizes pictures, ready for JSON.

    Args:
        items: the questions.
        answered: rows with their samples, no pruning first.
    """
    if not answered:
        return []
    whole = right(answered[0][1])[0]
    return [
        _split(items, whole, control, answered) for control in answered if control[0].conditions[0].method.in_pixels
    ]


def right(samples: Samples) -> Right:
    """Whether each draw answered each question right, (draws, n)."""
    return np.array([[sample.score >= RIGHT for sample in draw] for draw in samples], dtype=bool)


def _split(
    items: Sequence[Item], whole: Right, control: tuple[Row, Samples], answered: Sequence[tuple[Row, Samples]]
) -> dict[str, Any]:
    row, samples = control
    small = right(samples)[0]
    groups = {"hard": whole & ~small, "simple": whole & small}
    rivals = [
        (other, draws)
        for other, draws in answered[1:]
        if other.budget == row.budget and not other.conditions[0].method.in_pixels
    ]
    return {
        "control": row.name,
        "retain": row.retain,
        "layer_mean": _layer_mean(samples),
        "questions": len(items),
        "right_without_pruning": int(whole.sum()),
        "groups": {name: _size(items, members) for name, members in groups.items()},
        "statement": STATEMENT,
        "rows": [
            {"name": other.name, "draws": len(draws), "layer_mean": _layer_mean(draws)}
            | {name: _share(right(draws), members) for name, members in groups.items()}
            for other, draws in rivals
        ],
    }


def _size(items: Sequence[Item], members: Right) -> dict[str, int]:
    chosen = [item for item, member in zip(items, members, strict=True) if member]
    return {"questions": len(chosen), "pictures": len({item.picture for item in chosen})}


def _share(answers: Right, members: Right) -> dict[str, float | None]:
    """Share of right answers in a group, averaged over draws, with Wilson's interval.

    The interval is that of one draw: it takes no account of the draws' number, and takes questions for independent.
    """
    count = int(members.sum())
    if not count:
        return {"value": None, "low": None, "high": None}
    value = float(answers[:, members].mean())
    low, high = wilson(value * count, count)
    return {"value": finite(value), "low": finite(low), "high": finite(high)}


def _layer_mean(samples: Samples) -> float | None:
    """Visual tokens that a decoder layer ran on, as a mean over layers and questions."""
    return finite(np.mean([sample.layer_mean for draw in samples for sample in draw]))
