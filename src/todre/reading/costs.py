"""Costs of methods: tokens in the decoder, or measurements of `todre bench`."""

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
"""Costs that `todre bench` measures for each method, with their words for axes."""
ACROSS = (TOKENS, *MEASURED)
TOLERANCE = 0.05
"""Share of the budget by which a method may exceed it and still count as within."""


@dataclass(frozen=True)
class Cost:
    """A cost of methods, in shares of no pruning's.

    Attributes:
        axis: label for an axis: what the cost is and where it comes from.
        of: costs by the entry's label; methods without a known cost are absent.
    """

    axis: str
    of: dict[str, float]


def exceeds(entry: Entry, retain: Budget | None = None) -> bool:
    """True if a decoder layer runs on more visual tokens than the budget, by over 5 %.

    Methods that drop tokens inside the decoder can exceed the budget, as their first layers see all tokens.

    Args:
        entry: a method's result.
        retain: the budget; without it, the entry's own budget; the result is False if the entry has none.
    """
    budget = entry.retain if retain is None else retain
    return budget is not None and entry.share > (1 + TOLERANCE) * share_of(budget, entry.before)


def token_cost(results: Results) -> Cost:
    """Cost in visual tokens per decoder layer (mean over layers and questions)."""
    axis = "visual tokens per decoder layer, % of no pruning (mean over layers and questions)"
    return Cost(axis, {entry.label: entry.share for entry in results.entries})


def bench_cost(results: Results, document: dict[str, Any], across: str) -> Cost:
    """Cost that `todre bench` measured in its first cell, for methods in both files.

    Args:
        results: results of `todre eval`.
        document: the document of `todre bench`.
        across: the cost, a key of `MEASURED`.

    Raises:
        InvalidValueError: the document lacks the cost, or bench measured none of these methods.
    """
    if across not in MEASURED:
        raise InvalidValueError(f"across must be one of {', '.join(ACROSS)}, not {across!r}.")
    words = MEASURED[across]
    rows = [row for row in document["rows"] if _without_group(row) == _cell(document["finished"][0])]
    none = {row["asked"].get("group"): row for row in rows if row["kind"] == "none"}
    methods = [row for row in rows if row["kind"] == "method"]
    found = {
        entry.label: _ratio(row, none[row["asked"].get("group")], across)
        for entry in results.entries
        for row in methods
        if _settings(row["method"]) == _settings(entry.fields)
    }
    if not found:
        measured = ", ".join(row["subject"] for row in methods)
        raise InvalidValueError(
            f"Bench measured {measured or 'no method'}, and no method of the results has those settings; run `todre "
            "bench` with the same --methods and --retain."
        )
    model, machine = document["conditions"]["model"], document["conditions"]["machine"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    return Cost(f"{words}, % of no pruning\n({model['name']}, {model['dtype']}, {where})", found)


def _without_group(row: dict[str, Any]) -> dict[str, Any]:
    """What a row was measured under, without the group of methods.

    Many methods are measured in groups, each beside no pruning of its own.
    """
    return _cell(row["asked"])


def _cell(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name != "group"}


def front(points: list[tuple[float, float]]) -> list[int]:
    """Places (0-based) of the Pareto front: points that no other point beats.

    A point beats another if it costs no more and gains more, or costs less and gains as much.

    Args:
        points: (cost, gain) of each point.

    Returns:
        Places from low to high cost; among equal points, the first one's place.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1], place))
    kept: list[int] = []
    for place in order:
        if not kept or points[place][1] > points[kept[-1]][1]:
            kept.append(place)
    return kept


def _ratio(row: dict[str, Any], none: dict[str, Any], across: str) -> float:
    """A row's cost over the cost without pruning; for times, paired rounds' median."""
    if across == "flops":
        return float(row["flops"]["total"] / none["flops"]["total"])
    if across == "kv":
        return float(row["kv_bytes"]["measured"] / none["kv_bytes"]["measured"])
    return float(row["ratio_to_none"][across.replace("-", "_")]["p50"])


def _settings(fields: dict[str, Any]) -> dict[str, Any]:
    """A method's settings without its seed."""
    return {name: value for name, value in fields.items() if name != "seed"}
