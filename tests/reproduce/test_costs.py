"""Tables of cost: speed-ups round by round, and what is measured again."""

from types import SimpleNamespace

import pytest

from todre.bench.document import new
from todre.published import table
from todre.reproduce import costs

TABLE = table("v1-table3")


def row(subject, total, ratio):
    """A row of `todre bench`; `ratio` is the median over rounds of time over the time without pruning."""
    return {
        "subject": subject,
        "kind": "none" if subject == "none" else "method",
        "profiler_flops": 4e12,
        "peak_bytes": {"whole": 2e9},
        "samples_per_second": {"p50": 1000 / total},
        "ratio_to_none": {"total": {"p20": ratio, "p50": ratio, "p80": ratio}},
    }


def test_a_speed_up_compares_calls_of_one_round():
    none, pruned = row("none", 100.0, 1.0), row("fastv", 50.0, 0.8)
    values = costs.values_of(pruned, none, "v1-table3")
    assert values["speedup"] == pytest.approx(1.25)
    assert values["samples_per_second"] == 20.0
    assert values["flops_reduction_percent"] == 0.0
    assert "speedup" not in costs.values_of(none, none, "v1-table3")
    assert costs.values_of(None, none, "v1-table3") is None


def test_costs_are_measured_once_and_anew_where_that_is_asked(tmp_path, monkeypatch):
    seen = []

    def run(source, specs, cells, how, *, output, resume, **more):
        seen.append(output.exists() and resume)
        output.write_text("measured")
        rows = [row(name, 10.0, 1.0) for name in ("none", *(each.name for each in specs))]
        return new({}, "") | {"rows": rows}

    monkeypatch.setattr("todre.bench.run.run", run)
    arguments = (TABLE, SimpleNamespace(model=None), 1, tmp_path, "todre reproduce", lambda line: None)
    costs.measured(*arguments)
    costs.measured(*arguments)
    costs.measured(*arguments, anew=True)
    assert seen == [False, True, False]
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]
