"""Rows of a load run: one configuration in one cell, as numbers for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from todre.bench.load.client import Outcome
from todre.bench.load.round import Moment, Round
from todre.bench.spread import percentile, ratios, spread

Row = dict[str, Any]
LATENCIES = ("first_token", "between_tokens", "whole")
SHARES = {"p50": 0.5, "p95": 0.95}
MOST_REASONS, MOST_MOMENTS = 5, 200
"""Most reasons of failures, and most moments of memory, that a row keeps."""


def row_of(
    name: str, cell: dict[str, Any], rounds: Sequence[Round], baseline: Sequence[Round] | None, room: int | None
) -> Row:
    """The row of one configuration in one cell.

    Args:
        name: the configuration's name.
        cell: the cell's fields.
        rounds: the configuration's rounds.
        baseline: the first configuration's rounds, for ratios within each round; None if it has none.
        room: tokens that the server's KV cache has room for, if it tells.
    """
    outcomes = [one for each in rounds for one in each.driven.outcomes]
    good = [one for one in outcomes if one.failure is None]
    rates = [_rate(each) for each in rounds]
    row: Row = {
        "cell": cell,
        "configuration": name,
        "rounds": len(rounds),
        "requests": len(outcomes),
        "failed": len(outcomes) - len(good),
        "failures": dict(Counter(one.failure for one in outcomes if one.failure is not None).most_common(MOST_REASONS)),
        "tokens": sum(one.tokens for one in good),
        "seconds": [each.driven.seconds for each in rounds],
        "requests_per_second": spread(rates),
        "ratio_to_baseline": None if baseline is None else ratios(rates, [_rate(each) for each in baseline]),
        "tokens_per_second": spread([_token_rate(each) for each in rounds]),
        "ms": _latencies(good),
        "tower_share": spread([_tower_share(each) for each in rounds]),
        "peak_kv": _peak_kv(rounds, room),
        "resident_bytes": _ends(rounds),
        "samples": {"requests_per_second": rates},
    }
    if cell["soak"]:
        row["memory"] = memory_of(rounds[0].memory, cell["pictures"])
    return row


def _rate(one: Round) -> float | None:
    """Answered requests per second."""
    good = sum(each.failure is None for each in one.driven.outcomes)
    return good / one.driven.seconds if good else None


def _token_rate(one: Round) -> float | None:
    tokens = sum(each.tokens for each in one.driven.outcomes if each.failure is None)
    return tokens / one.driven.seconds if tokens else None


def _tower_share(one: Round) -> float | None:
    return None if one.tower is None or not one.driven.outcomes else one.tower / one.driven.seconds


def _latencies(good: Sequence[Outcome]) -> dict[str, dict[str, float] | None]:
    """p50 and p95 over all answers, in milliseconds."""
    values = {
        "first_token": [one.first_token for one in good],
        "between_tokens": [gap for one in good for gap in one.gaps],
        "whole": [one.whole for one in good],
    }
    return {name: _percentiles([1000 * value for value in values[name]]) for name in LATENCIES}


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {name: percentile(ordered, share) for name, share in SHARES.items()}


def _peak_kv(rounds: Sequence[Round], room: int | None) -> dict[str, Any] | None:
    """The largest use of the KV cache, in the server's unit and in tokens."""
    looks = [use for each in rounds for use in each.kv]
    if not looks:
        return None
    most = max(use.value for use in looks)
    unit = looks[0].unit
    tokens = round(most * room) if unit == "share" and room is not None else None
    return {unit: most, "tokens": tokens, "looks": len(looks)}


def _ends(rounds: Sequence[Round]) -> dict[str, int] | None:
    """Resident memory before the first round, after the last, and at its largest."""
    moments = [moment for each in rounds for moment in each.memory]
    if not moments:
        return None
    most = max(moment.resident for moment in moments)
    return {"start": moments[0].resident, "end": moments[-1].resident, "most": most}


def memory_of(moments: Sequence[Moment], pictures: int) -> dict[str, Any] | None:
    """Whether a server's memory stayed flat in a long round.

    The median over the first tenth of the requests after every picture was there once is compared with the median over
    the last tenth: until then, caches of pictures may fill.

    Args:
        moments: the round's moments.
        pictures: number of different pictures.
    """
    if not moments:
        return None
    done = moments[-1].done
    tenth = max(done // 10, 1)
    start = min(pictures, done - tenth)
    early = [one.resident for one in moments if start <= one.done <= start + tenth]
    late = [one.resident for one in moments if one.done >= done - tenth]
    first, last = _median(early), _median(late)
    return {
        "early": first,
        "late": last,
        "growth": None if not first or last is None else last / first - 1,
        "moments": [[round(one.seconds, 1), one.done, one.resident] for one in _thinned(moments)],
    }


def _median(values: Sequence[int]) -> float | None:
    return percentile(sorted(values), 0.5) if values else None


def _thinned(moments: Sequence[Moment]) -> Sequence[Moment]:
    step = -(-len(moments) // MOST_MOMENTS)
    return [*moments[:-1:step], moments[-1]]
