"""Choice of the methods that a figure shows in colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from todre.reading.costs import exceeds
from todre.reading.results import Budget, Entry, Results

OURS = ("todre", "todre-v1")
RANDOM = "random"
FEW = 8
"""Methods that a figure shows in colour at most."""


def highlighted(results: Results, names: Sequence[str] = (), most: int = FEW) -> tuple[str, ...]:
    """Methods to show in colour: `names`, or ToDRE, random and each budget's best.

    The best are of those that carry no more tokens than the budget; others come after all of these.

    Args:
        results: what was read; where it has no more than `most` methods, all are chosen.
        names: in the order of their colours.
        most: how many are chosen without `names`.

    Raises:
        InvalidValueError: there is no such method.
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
    """Entries from a high measure to a low one; those without it come last."""

    def key(entry: Entry) -> tuple[bool, float]:
        value = entry.value(measure).value
        return value is None, -(value or 0.0)

    return sorted(entries, key=key)


def fair_order(entries: Iterable[Entry], retain: Budget | None, measure: str = "retention") -> list[Entry]:
    """Entries within the budget, best first, then those that carry more, best first."""
    return sorted(best_first(entries, measure), key=lambda entry: exceeds(entry, retain))


def _from_few_to_many(results: Results) -> list[Budget | None]:
    """Budgets: that nearest to 10 %, then from few tokens to many; [None] for none."""
    if not results.budgets:
        return [None]
    usual = results.budget()
    return [usual, *(retain for retain in reversed(results.budgets) if retain != usual)]
