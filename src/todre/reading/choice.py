"""Which of many methods a figure shows in colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from todre.reading.results import Budget, Entry, Results

OURS = ("todre", "todre-v1")
RANDOM = "random"
FEW = 8
"""So many methods can all be in colour."""


def highlighted(results: Results, wanted: Sequence[str] = (), most: int = FEW) -> tuple[str, ...]:
    """The methods to show in colour: `wanted`, or both of ToDRE, random, and the best at each budget.

    Args:
        results: what was read; where it has no more than `most` methods, all are chosen.
        wanted: names, in the order of their colours.
        most: how many are chosen without `wanted`.

    Raises:
        InvalidValueError: there is no such method.
    """
    if wanted:
        results.only(wanted)
        return tuple(dict.fromkeys(wanted))
    if len(results.names) <= most:
        return results.names
    chosen = [name for name in (*OURS, RANDOM) if name in results.names]
    for place in range(len(results.names)):
        for retain in _from_few_to_many(results):
            order = best_first(results.at(retain))
            if len(chosen) < most and place < len(order) and order[place].name not in chosen:
                chosen.append(order[place].name)
    return tuple(chosen)


def best_first(entries: Iterable[Entry], measure: str = "retention") -> list[Entry]:
    """From a high measure to a low one; those without it come last."""

    def key(entry: Entry) -> tuple[bool, float]:
        value = entry.value(measure).value
        return value is None, -(value or 0.0)

    return sorted(entries, key=key)


def _from_few_to_many(results: Results) -> list[Budget | None]:
    """Budgets, the one nearest to 10 % first, then from few tokens to many; None where no method has a budget."""
    if not results.budgets:
        return [None]
    usual = results.budget()
    return [usual, *(retain for retain in reversed(results.budgets) if retain != usual)]
