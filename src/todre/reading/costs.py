"""What each method costs: tokens in the decoder, or what `todre bench` measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from todre.errors import InvalidValueError
from todre.reading.results import Budget, Entry, Results, share_of

TOKENS = "tokens"
MEASURED = {
    "first-token": "time to the first token",
    "total": "time of the whole answer",
    "flops": "counted FLOPs of the whole answer",
    "kv": "bytes of the KV cache",
}
"""What a document of bench has for each method, and how to say it."""
ACROSS = (TOKENS, *MEASURED)
TOLERANCE = 0.05
"""Share of its budget by which a method may go over it and still count as within."""


@dataclass(frozen=True)
class Cost:
    """A cost of methods, in shares of no pruning's.

    Attributes:
        axis: what it is and where it is from, as an axis label.
        of: the cost by the entry's label; other methods have none.
    """

    axis: str
    of: dict[str, float]


def exceeds(entry: Entry, retain: Budget | None = None) -> bool:
    """True if a decoder layer runs on more visual tokens than the budget, by over 5 %.

    Methods that drop inside the decoder do: their first layers see all tokens.

    Args:
        entry: a method's result.
        retain: the budget; without it the entry's own, and False if it has none.
    """
    budget = entry.retain if retain is None else retain
    return budget is not None and entry.share > (1 + TOLERANCE) * share_of(budget, entry.before)


def token_cost(results: Results) -> Cost:
    """Cost in visual tokens per decoder layer (mean over layers and questions)."""
    axis = "visual tokens per decoder layer, % of no pruning (mean over layers and questions)"
    return Cost(axis, {entry.label: entry.share for entry in results.entries})


def bench_cost(results: Results, document: dict[str, Any], across: str) -> Cost:
    """Cost that `todre bench` measured in its first cell, for methods of both.

    Args:
        results: what was read.
        document: what bench wrote.
        across: one of `MEASURED`.

    Raises:
        InvalidValueError: there is no such cost, or bench measured none of these methods.
    """
    if across not in MEASURED:
        raise InvalidValueError(f"across must be one of {', '.join(ACROSS)}, not {across!r}.")
    words = MEASURED[across]
    rows = [row for row in document["rows"] if row["asked"] == document["finished"][0]]
    none = next(row for row in rows if row["kind"] == "none")
    found = {}
    for entry in results.entries:
        for row in rows:
            if row["kind"] == "method" and _settings(row["method"]) == _settings(entry.fields):
                found[entry.label] = _ratio(row, none, across)
    if not found:
        measured = ", ".join(row["subject"] for row in rows if row["kind"] == "method")
        raise InvalidValueError(
            f"Bench measured {measured or 'no method'}, and no method of the results has those settings; run `todre "
            "bench` with the same --methods and --retain."
        )
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    return Cost(f"{words}, % of no pruning\n({model['name']}, {model['dtype']}, {where})", found)


def front(points: list[tuple[float, float]]) -> list[int]:
    """Places (0-based) of the Pareto front: points that no other point beats.

    A point beats another if it costs no more and gains more, or costs less and gains as much.

    Args:
        points: (cost, gain) of each.

    Returns:
        Places from low cost to high; of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1], place))
    kept: list[int] = []
    for place in order:
        if not kept or points[place][1] > points[kept[-1]][1]:
            kept.append(place)
    return kept


def _ratio(row: dict[str, Any], none: dict[str, Any], across: str) -> float:
    """A row's cost over no pruning's; of times the median over paired rounds."""
    if across == "flops":
        return float(row["flops"]["total"] / none["flops"]["total"])
    if across == "kv":
        return float(row["kv_bytes"]["measured"] / none["kv_bytes"]["measured"])
    return float(row["ratio_to_none"][across.replace("-", "_")]["p50"])


def _settings(fields: dict[str, Any]) -> dict[str, Any]:
    """A method's settings without its seed."""
    return {name: value for name, value in fields.items() if name != "seed"}
