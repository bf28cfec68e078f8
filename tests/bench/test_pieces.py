"""Percentiles, running memory, KV bytes, names of methods, and documents that go on where they stopped."""

import json
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from todre.bench import document as doc
from todre.bench import run as running
from todre.bench.cell import measure
from todre.bench.kv import measured_bytes
from todre.bench.memory import peak_of, running_peak
from todre.bench.method_specs import parse, specs_of
from todre.bench.presets import PRESETS
from todre.bench.run import Source, run
from todre.bench.settings import Cell, Rounds, Settings
from todre.bench.spread import ratios, spread
from todre.errors import InvalidValueError

NUMBERS = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30)


@given(NUMBERS)
def test_spread_is_torchs_quantile(values):
    quantiles = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64))
    assert list(spread(values).values()) == pytest.approx(quantiles.tolist())


def test_ratios_are_taken_round_by_round():
    assert ratios([2.0, 9.0, 8.0], [1.0, 3.0, 2.0])["p50"] == 3.0
    assert ratios([None, None], [1.0, 2.0]) is None


@given(st.lists(st.integers(-50, 50), max_size=30))
def test_running_peak_is_the_largest_sum(sizes):
    expected = max([0, *(sum(sizes[: end + 1]) for end in range(len(sizes)))])
    assert running_peak(list(enumerate(sizes))) == expected


def test_peak_counts_what_a_call_holds_at_once():
    def call():
        first = torch.ones(1000)
        second = torch.ones(3000)
        del first
        third = torch.ones(2000)
        return second, third

    peak = peak_of(torch.device("cpu"), call, 7)
    assert (peak.above, peak.whole) == (4 * 5000, 4 * 5000 + 7)


def test_view_of_a_larger_tensor_counts_whole():
    from transformers import DynamicCache

    cache, whole = DynamicCache(), torch.zeros(1, 2, 10, 4)
    cache.update(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4), 0)
    assert measured_bytes(cache) == 2 * 24 * 4
    cache.layers[0].keys = whole[:, :, :3]
    assert measured_bytes(cache) == (80 + 24) * 4
    cache.layers[0].values = whole[:, :, 3:6]
    assert measured_bytes(cache) == 80 * 4


def test_names_of_methods_carry_settings():
    assert parse("todre:stages=1:threshold=0.5:pivot=random") == (
        "todre", {"stages": (1,), "threshold": 0.5, "pivot": "random"}
    )  # fmt: skip
    found = specs_of(["none", "todre:stages=1", "vtw", "todre:retain=9"], [0.1, 288], seed=3)
    assert [each.name for each in found] == ["todre:stages=1@0.1", "todre:stages=1@288", "vtw", "todre:retain=9"]
    assert found[1].method.retain == 288
    assert found[1].method.seed == 3
    with pytest.raises(InvalidValueError, match="'depth=3' is no setting of vtw"):
        parse("vtw:depth=3")
    with pytest.raises(InvalidValueError, match="measured twice"):
        specs_of(["vtw", "vtw"], [])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batches": (0,)}, r"batches\[0\] must be a whole number of at least 1, not 0"),
        ({"new_tokens": (2, 2)}, "new_tokens must be a list of at least one, none twice, each a whole number"),
        ({"backends": ()}, r"backends must be a list of at least one, .*, not \(\)"),
        ({"rounds": 0}, "rounds must be a whole number of at least 1, not 0"),
        ({"warm_up": -1}, "warm_up must be a whole number of at least 0, not -1"),
        ({"retains": (1.5,)}, r"retains\[0\] must be a fraction"),
    ],
)
def test_settings_refuse_what_cannot_be_run(settings, sentence):
    with pytest.raises(InvalidValueError, match=sentence):
        Settings(**settings)


@pytest.fixture
def cells():
    return Settings(batches=(1,), text_tokens=(4, 5, 6), new_tokens=(1,), threads=(1,)).cells()


def go(tiny, cells, output, resume=True, rounds=1):
    source = Source(tiny, PRESETS["tiny"])
    how = Rounds(warm_up=0, rounds=rounds, oracle=False, memory=False)
    return run(source, specs_of(["random"], [0.1]), cells, how, output=output, resume=resume)


def test_killed_run_goes_on(tiny, cells, tmp_path, monkeypatch):
    file = tmp_path / "bench.json"
    monkeypatch.setattr("todre.bench.conditions.commit", lambda: "abc")
    prefix = []

    def killed_in_the_third(model, prompt, chosen, cell, *rest):
        prefix.append(cell)
        if len(prefix) == 3:
            raise KeyboardInterrupt
        return measure(model, prompt, chosen, cell, *rest)

    monkeypatch.setattr(running, "measure", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        go(tiny, cells, file)
    kept = doc.read(file)
    assert kept["finished"] == [asdict(cell) for cell in cells[:2]]
    document = go(tiny, cells, file)
    assert prefix[3:] == cells[2:]
    assert document == json.loads(file.read_text())
    assert document["rows"][: len(kept["rows"])] == kept["rows"]
    assert [row["asked"] for row in document["rows"][::2]] == [asdict(cell) for cell in cells]
    with pytest.raises(InvalidValueError, match=r"other conditions \(rounds.rounds was 1 and is 2\)"):
        go(tiny, cells, file, rounds=2)
    assert doc.read(file) == document


def test_many_methods_are_measured_in_groups(tiny):
    chosen = specs_of(["random", "evs", "uniform"], [0.1])
    how = Rounds(warm_up=0, rounds=1, oracle=False, memory=False)
    document = run(Source(tiny, PRESETS["tiny"]), chosen, [Cell(new_tokens=1)], how, leave_out=True, together=2)
    names = [(row["asked"]["group"], row["subject"]) for row in document["rows"]]
    assert names == [(0, "none"), (0, "random@0.1"), (1, "none"), (1, "uniform@0.1")]
    assert "clip" in document["left_out"]["evs@0.1"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": "another"}'])
def test_file_that_bench_did_not_write_is_refused(tmp_path, text):
    file = tmp_path / "b.json"
    file.write_text(text)
    with pytest.raises(InvalidValueError, match="give a file that `todre bench` wrote"):
        doc.read(file)
