"""Conditions in a document are those that were measured under: device, weights, length of the text."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from todre.bench import rounds
from todre.bench.conditions import record_checks
from todre.bench.method_specs import specs_of
from todre.bench.published import table
from todre.bench.run import Source, run
from todre.bench.settings import Cell, Rounds
from todre.cli.bench_tables import published_table
from todre.errors import InvalidValueError
from todre.loading.model import load
from todre.tiny import checkpoint_path

ONCE = Rounds(warm_up=0, rounds=1, oracle=False, memory=False)


@pytest.fixture(scope="module")
def loaded():
    return load(None, device="cpu", dtype="float32")


def measured(source, *lengths, **choices):
    cells = [Cell(text_tokens=length, new_tokens=1, threads=1) for length in lengths]
    return run(source, specs_of(["random"], [0.1]), cells, ONCE, **choices)


def test_a_check_is_of_the_device_that_it_ran_on(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"GPU {device.index}")
    machine = record_checks([], torch.device("cpu"), None)["machine"]
    assert (machine["device"], machine["cuda"]) == ("cpu", None)
    assert record_checks([], torch.device("cuda:1"), None)["machine"]["device"] == "GPU 1"


def test_events_are_recorded_on_the_stream_of_the_models_device(monkeypatch):
    recorded = []
    event = SimpleNamespace(record=lambda stream=None: recorded.append(stream))
    monkeypatch.setattr("torch.cuda.Event", lambda enable_timing: event)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device=None: f"stream of {device}")
    marks = rounds._Marks(torch.device("cuda:1"))
    marks(torch.nn.Identity(), (), None)
    assert recorded == ["stream of cuda:1"]


def test_rows_say_how_long_the_text_was(loaded):
    document = measured(Source(loaded.model, loaded), 10)
    length = Source(loaded.model, loaded).prompt(Cell(text_tokens=1)).text_tokens
    assert length > 10
    assert {row["asked"]["text_tokens"] for row in document["rows"]} == {10}
    assert {row["cell"]["text_tokens"] for row in document["rows"]} == {length}
    exact = Source(loaded.model, loaded, exact_text=True)
    assert exact.prompt(Cell(text_tokens=length)).text_tokens == length
    assert exact.prompt(Cell(text_tokens=length + 5)).text_tokens == length + 5


def test_a_text_that_is_shorter_than_the_template_is_refused_before_anything_is_measured(loaded, monkeypatch):
    monkeypatch.setattr("todre.bench.run.measure", lambda *rest: pytest.fail("measured"))
    with pytest.raises(
        InvalidValueError, match=r"A prompt of 10 text tokens is shorter .* todre-tiny .*; give at least"
    ):
        measured(Source(loaded.model, loaded, exact_text=True), 90, 10)


def test_a_folder_that_was_retrained_is_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr("todre.bench.conditions.commit", lambda: "abc")
    folder, output = tmp_path / "model", tmp_path / "b.json"
    shutil.copytree(checkpoint_path(), folder)

    def again():
        found = load(folder, device="cpu", dtype="float32")
        return measured(Source(found.model, found), 40, output=output, resume=True)

    first = again()
    assert len(first["conditions"]["model"]["sha256"]) == 64
    monkeypatch.setattr("todre.bench.run.measure", lambda *rest: pytest.fail("measured again"))
    assert again() == first
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidValueError, match=r"other conditions \(model\.sha256 was"):
        again()


def test_a_commit_stands_for_the_weights_of_a_hub_id(loaded):
    assert "sha256" not in Source(loaded.model, replace(loaded, revision="a" * 40)).facts()


def test_the_seed_reaches_the_methods_of_a_table():
    seeds = [{each.name: each.method for each in table("v1-table3").subjects(False, seed)} for seed in (0, 7)]
    assert list(seeds[0]) == list(seeds[1])
    taking = [name for name, method in seeds[1].items() if hasattr(method, "seed")]
    assert taking
    assert {seeds[1][name].seed for name in taking} == {7}


def test_a_refused_row_of_a_table_has_no_measured_value():
    row = {"profiler_flops": 2e12, "peak_bytes": None, "samples_per_second": {"p50": 4.0}}
    printed = table("v1-table3")
    names = ["none", *(each.name for each in printed.subjects(True))]
    rows = [{"subject": name, **row} for name in names[:-1]]
    shown = published_table(rows, "v1-table3", certain=True)
    columns = [list(column.cells) for column in shown.columns]
    assert [column[-1] for column in columns[2::2]] == ["–", "–", "–"]
    assert columns[2][-2] == "2 (1.00×)"
