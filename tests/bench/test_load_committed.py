"""What the pages say of servers under load is in the committed results."""

import json

import pytest
from docs.pages import ROOT


@pytest.fixture(scope="module")
def load():
    return json.loads((ROOT / "results" / "serve-vllm-cpu.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def soak():
    rows = json.loads((ROOT / "results" / "serve-vllm-soak.json").read_text(encoding="utf-8"))["rows"]
    return next(row for row in rows if row["cell"]["soak"])


def test_every_number_of_clients_was_measured_and_nothing_failed(load):
    assert not load["left_out"]
    assert {row["cell"]["concurrency"] for row in load["rows"]} == {1, 4, 8, 16, 32}
    assert {row["configuration"] for row in load["rows"]} == {"none", "todre@0.25", "todre@0.1"}
    assert [row for row in load["rows"] if row["failed"]] == []
    assert load["conditions"]["model"]["visual_tokens"] == 1752


def test_at_eight_clients_requests_and_cache_are_as_stated(load):
    rows = {row["configuration"]: row for row in load["rows"] if row["cell"]["concurrency"] == 8}
    whole = rows["none"]["peak_kv"]["tokens"]
    for name, least, most in (("todre@0.25", 2.5, 0.35), ("todre@0.1", 3.5, 0.2)):
        assert rows[name]["ratio_to_baseline"]["p50"] >= least
        assert rows[name]["peak_kv"]["tokens"] <= most * whole


def test_a_thousand_requests_left_the_memory_as_it_was(soak):
    assert (soak["requests"], soak["failed"], soak["cell"]["pictures"]) == (1000, 0, 200)
    assert abs(soak["memory"]["growth"]) < 0.02
