"""Choice of methods that a figure shows in colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from todre.reading.costs import exceeds
from todre.reading.results import Budget, Entry, Results

OURS = ("todre", "todre-v1")
RANDOM = "random"
FEW = 8
"""Most methods that a figure shows in colour."""


def highlighted(results: Results, names: Sequence[str] = (), most: int = FEW) -> tuple[str, ...]:
    """Methods to show in colour: `names`, or ToDRE, random and each budget's best.

    The best are chosen among methods within the budget first, then among those that carry more tokens.

    Args:
        results: the results; if they have no more than `most` methods, all are chosen.
        names: methods in the order of their colours.
        most: most methods to choose if `names` is empty.

    Raises:
        InvalidValueError: `names` has a method that the results lack.
    """
    if names:
        results.only(names)
        return tuple(dict.fromkeys(names))
    if len(results.names) <= most:
        return results.names
    chosen = [name for name in (*OURS, RANDOM) if name in results.names]
    for place in range(len(results.names)):
        for retain in _from_few_to_many(results):
            order = fair_order(results.at(retain), retain)
            if len(chosen) < most and place < len(order) and order[place].name not in chosen:
                chosen.append(order[place].name)
    return tuple(chosen)


def best_first(entries: Iterable[Entry], measure: str = "retention") -> list[Entry]:
    """Entries from high to low measure; entries without the measure come last."""

    def key(entry: Entry) -> tuple[bool, float]:
        value = entry.value(measure).value
        return value is None, -(value or 0.0)

    return sorted(entries, key=key)


def fair_order(entries: Iterable[Entry], retain: Budget | None, measure: str = "retention") -> list[Entry]:
    """Entries within the budget, best first, then those that carry more, best first."""
    return sorted(best_first(entries, measure), key=lambda entry: exceeds(entry, retain))


def _from_few_to_many(results: Results) -> list[Budget | None]:
    """Budgets: the nearest to 10 % first, then few tokens to many; [None] if none."""
    if not results.budgets:
        return [None]
    usual = results.budget()
    return [usual, *(retain for retain in reversed(results.budgets) if retain != usual)]
