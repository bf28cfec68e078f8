"""Numbers of a load run, computed from outcomes whose times are written down here."""

import statistics

import numpy as np
import pytest

from todre.bench.load.client import Driven, Outcome
from todre.bench.load.probes import KvUse
from todre.bench.load.round import Moment, Round
from todre.bench.load.rows import MOST_MOMENTS, MOST_REASONS, memory_of, row_of
from todre.bench.load.settings import LoadCell, LoadSettings
from todre.errors import InvalidValueError

CELL = LoadCell(2, 4).to_dict()


def outcome(sent, texts, tokens=None, failure=None, ended=None):
    last = ended if ended is not None else (texts[-1] if texts else sent)
    return Outcome(sent, tuple(texts), last, len(texts) if tokens is None else tokens, failure)


def test_latencies_are_percentiles_over_all_answers():
    rng = np.random.default_rng(3)
    starts, first, gaps = rng.uniform(0, 5, 40), rng.uniform(0.1, 2, 40), rng.uniform(0.01, 0.3, (40, 5))
    outcomes = [
        outcome(sent, [sent + wait, *(sent + wait + np.cumsum(steps))], ended=sent + wait + steps.sum() + 0.5)
        for sent, wait, steps in zip(starts, first, gaps, strict=True)
    ]
    rounds = [Round(Driven(outcomes[:25], 10.0)), Round(Driven(outcomes[25:], 4.0))]
    row = row_of("a", CELL, rounds, rounds, None)
    whole = first + gaps.sum(axis=1) + 0.5
    for name, values in (("first_token", first), ("between_tokens", gaps), ("whole", whole)):
        for key, share in (("p50", 50), ("p95", 95)):
            assert row["ms"][name][key] == pytest.approx(1000 * np.percentile(values, share))
    assert row["requests"] == 40
    assert row["tokens"] == 240
    assert row["samples"]["requests_per_second"] == [2.5, 3.75]
    assert row["requests_per_second"]["p50"] == pytest.approx(np.percentile([2.5, 3.75], 50))
    assert row["tokens_per_second"]["p80"] == pytest.approx(np.percentile([15.0, 22.5], 80))


def test_ratio_is_taken_within_each_round():
    def rounds(*seconds):
        return [Round(Driven([outcome(0, [1]), outcome(0, [1])], one)) for one in seconds]

    slow, fast = rounds(10.0, 20.0, 40.0), rounds(5.0, 5.0, 8.0)
    row = row_of("fast", CELL, fast, slow, None)
    assert row["ratio_to_baseline"]["p50"] == statistics.median([2.0, 4.0, 5.0])
    assert row_of("slow", CELL, slow, slow, None)["ratio_to_baseline"] == {"p20": 1.0, "p50": 1.0, "p80": 1.0}


def test_failures_are_counted_and_enter_no_rate_and_no_latency():
    good, bad = outcome(0, [1.0, 2.0], tokens=7), outcome(0, [50.0, 90.0], tokens=9, failure="it broke")
    row = row_of("a", CELL, [Round(Driven([good, bad, bad], 2.0))], [Round(Driven([good], 2.0))], None)
    assert (row["requests"], row["failed"], row["failures"]) == (3, 2, {"it broke": 2})
    assert row["tokens"] == 7
    assert row["ms"]["first_token"] == {"p50": 1000.0, "p95": 1000.0}
    assert row["requests_per_second"]["p50"] == 0.5
    assert row["tokens_per_second"]["p50"] == 3.5


def test_reasons_of_failures_are_few():
    outcomes = [outcome(0, [], failure=f"reason {number % 9}") for number in range(100)]
    row = row_of("a", CELL, [Round(Driven(outcomes, 1.0))], [Round(Driven(outcomes, 1.0))], None)
    assert row["failed"] == 100
    assert len(row["failures"]) == MOST_REASONS
    assert row["requests_per_second"] is None
    assert row["ratio_to_baseline"] is None
    assert row["ms"] == {"first_token": None, "between_tokens": None, "whole": None}


def test_kv_and_tower_and_memory_of_rounds():
    moments = [Moment(0.0, 0, 100), Moment(1.0, 2, 400), Moment(2.0, 4, 300)]
    looks = [KvUse(0.25, "share"), KvUse(0.75, "share"), KvUse(0.5, "share")]
    one = Round(Driven([outcome(0, [1])], 4.0), looks[:1], 1.0, moments[:2])
    other = Round(Driven([outcome(0, [1])], 8.0), looks[1:], 4.0, moments[2:])
    row = row_of("a", CELL, [one, other], [one, other], 1600)
    assert row["peak_kv"] == {"share": 0.75, "tokens": 1200, "looks": 3}
    assert row["tower_share"]["p50"] == pytest.approx((0.25 + 0.5) / 2)
    assert row["resident_bytes"] == {"start": 100, "end": 300, "most": 400}
    unknown = Round(Driven([outcome(0, [1])], 4.0))
    silent = row_of("a", CELL, [unknown], [unknown], 1600)
    assert silent["peak_kv"] is silent["tower_share"] is silent["resident_bytes"] is None


def test_kv_in_bytes_has_no_tokens():
    one = Round(Driven([outcome(0, [1])], 4.0), [KvUse(5.0, "bytes"), KvUse(2.0, "bytes")])
    assert row_of("a", CELL, [one], [one], None)["peak_kv"] == {"bytes": 5.0, "tokens": None, "looks": 2}


def test_growth_is_from_when_every_picture_was_there_once():
    def resident(done):  # caches fill during the first 200 requests, and then one byte comes with each
        return 1_000_000 + 5_000 * min(done, 200) + max(0, done - 200)

    moments = [Moment(done / 10, done, resident(done)) for done in range(1001)]
    memory = memory_of(moments, 200)
    early = statistics.median(resident(done) for done in range(200, 301))
    late = statistics.median(resident(done) for done in range(900, 1001))
    assert (memory["early"], memory["late"]) == (early, late)
    assert memory["growth"] == pytest.approx(late / early - 1)
    assert len(memory["moments"]) <= MOST_MOMENTS + 1
    assert memory["moments"][0] == [0.0, 0, 1_000_000]
    assert memory["moments"][-1] == [100.0, 1000, resident(1000)]
    assert memory_of([], 200) is None


def test_cells_have_enough_requests_for_their_clients():
    settings = LoadSettings(concurrency=(1, 8, 32), requests=16, each=3, soak=1000)
    assert [cell.requests for cell in settings.cells()] == [16, 24, 96, 1000]
    soak = settings.cells()[-1]
    assert (soak.soak, soak.concurrency, soak.pictures) == (True, 8, 200)
    assert [settings.rounds_of(cell) for cell in settings.cells()] == [3, 3, 3, 1]
    with pytest.raises(InvalidValueError, match="concurrency"):
        LoadSettings(concurrency=(1, 1))
