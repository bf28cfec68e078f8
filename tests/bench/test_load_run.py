"""Whole load runs: turns, equal requests, the document, and going on after a stop."""

import json
import sys
import urllib.request
from pathlib import Path

import pytest

from todre.bench.load.configurations import Configuration
from todre.bench.load.document import FORMAT, read
from todre.bench.load.requests import Requests, words_of
from todre.bench.load.run import run
from todre.bench.load.settings import LoadSettings
from todre.errors import InvalidValueError, LoadError, MissingDependencyError

FAKE = str(Path(__file__).with_name("fake_server.py"))
COMMAND = (sys.executable, FAKE, "--port", "{port}")
CONDITIONS = {
    "model": {"name": "fake", "weights": "random", "dtype": "bfloat16", "visual_tokens": 9, "parameters": 1},
    "machine": {"device": "cpu", "cpu": "one"},
}
SETTINGS = LoadSettings(
    concurrency=(1, 2), requests=3, each=2, rounds=2, warm_up=1, soak=6, soak_concurrency=3, soak_pictures=2,
    picture=(16, 32), text_tokens=3, sample=0.01,
)  # fmt: skip
THREE = [Configuration(name=name, command=COMMAND, body={"who": name}, tower="metrics") for name in "abc"]


def measured(settings=SETTINGS, configurations=THREE, tick=lambda what: None, **how):
    return run(configurations, Requests(settings, words_of(settings)), settings, "m", CONDITIONS, tick=tick, **how)


class Spy:
    """A tick that asks the server what it saw before each step."""

    def __init__(self, monkeypatch):
        self.requests = []
        stop = __import__("todre.bench.load.servers", fromlist=["_stop"])._stop
        monkeypatch.setattr("todre.bench.load.servers._stop", lambda process: (self.look(), stop(process)))
        monkeypatch.setattr("todre.bench.load.servers.free_port", self.port)

    def port(self):
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.number = probe.getsockname()[1]
        return self.number

    def look(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.number}/seen") as answer:
            self.requests += json.load(answer)["requests"]


@pytest.fixture
def spied(monkeypatch):
    return Spy(monkeypatch)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    file = tmp_path_factory.mktemp("load") / "serve.json"
    measured(output=file, command="todre bench --serve")
    return read(file)


def test_turns_rotate_and_all_get_the_same_requests(spied):
    measured()
    order = [one["who"] for one in spied.requests]
    warm, rest = order[:3], order[3:]
    assert warm == ["a", "b", "c"]
    rounds = [rest[place : place + 3] for place in range(0, 18, 3)]
    assert [each[0] for each in rounds] == ["a", "b", "c", "b", "c", "a"]
    assert all(len(set(each)) == 1 for each in rounds)

    def asked(who):
        found = [(one["picture"], one["text"]) for one in spied.requests if one["who"] == who][1:]
        pairs, soak = found[:14], found[14:]
        return sorted(pairs[:3]), sorted(pairs[3:6]), sorted(pairs[6:10]), sorted(pairs[10:]), sorted(soak)

    assert asked("a")[:4] == asked("b")[:4] == asked("c")[:4]
    assert asked("a")[4] == []
    assert asked("b")[4] == asked("c")[4]
    counted = [pair for part in asked("a")[:4] for pair in part]
    assert len({picture for picture, _ in counted}) == len({text for _, text in counted}) == 14
    soak = asked("b")[4]
    assert len({picture for picture, _ in soak}) == 2
    assert all(len(text.split()) == 3 for _, text in counted)


def test_document_has_a_row_for_each_configuration_and_cell(document):
    assert document["format"] == FORMAT
    assert document["conditions"]["settings"]["soak"] == 6
    assert [each["name"] for each in document["conditions"]["configurations"]] == ["a", "b", "c"]
    assert document["conditions"]["configurations"][0]["command"] == list(COMMAND)
    assert [cell["concurrency"] for cell in document["finished"]] == [1, 2, 3]
    assert [row["configuration"] for row in document["rows"]] == [*"abcabc", *"bc"]
    for row in document["rows"]:
        soak = row["cell"]["soak"]
        assert row["requests"] == (6 if soak else row["cell"]["requests"] * 2)
        assert row["failed"] == 0
        assert row["tokens"] == 3 * row["requests"]
        assert row["peak_kv"]["share"] >= 0.0625
        seconds = sum(row["seconds"]) / len(row["seconds"])
        assert row["tower_share"]["p80"] <= 0.125 * row["requests"] / min(row["seconds"]) + 1e-3
        assert row["ms"]["first_token"]["p50"] <= row["ms"]["whole"]["p95"] <= 1000 * seconds * 10
        assert ("memory" in row) == soak
    assert {row["ratio_to_baseline"] for row in document["rows"] if row["cell"]["soak"]} == {None}
    assert {row["ratio_to_baseline"]["p50"] for row in document["rows"] if row["configuration"] == "a"} == {1.0}


def test_stopped_run_goes_on_with_what_is_left(tmp_path):
    file = tmp_path / "serve.json"
    steps = []

    def stop(what):
        steps.append(what)
        if what.startswith("2 clients, round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(output=file, tick=stop)
    assert [cell["concurrency"] for cell in read(file)["finished"]] == [1]
    before = read(file)["rows"]
    again = []
    measured(output=file, resume=True, tick=again.append)
    whole = read(file)
    assert [cell["concurrency"] for cell in whole["finished"]] == [1, 2, 3]
    assert whole["rows"][:3] == before
    assert not [what for what in again if what.startswith("1 clients")]
    finished = file.read_text()
    measured(output=file, resume=True, tick=lambda what: pytest.fail("something was done again"))
    assert file.read_text() == finished


def test_rows_of_other_conditions_are_not_mixed(tmp_path):
    file = tmp_path / "serve.json"
    one = LoadSettings(concurrency=(1,), requests=1, each=1, rounds=1, warm_up=0, picture=(16, 32))
    measured(one, THREE[:1], output=file)
    with pytest.raises(InvalidValueError, match="configurations"):
        measured(one, THREE[1:2], output=file, resume=True)


def test_server_that_answers_no_request_stops_the_run():
    broken = Configuration(name="broken", command=COMMAND, body={"script": {"refused": [1]}})
    with pytest.raises(LoadError, match=r"broken cannot answer \(InternalServerError: .*no room left"):
        measured(configurations=[broken])


def test_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("todre.bench.load.run.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"openai.*todre\[serve\]"):
        measured()
