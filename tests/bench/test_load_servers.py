"""Servers and clients of a load run, against a server that follows a script and tells what it saw."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from todre.bench.load.client import Progress, Target, drive
from todre.bench.load.configurations import Configuration, checked, read_configurations
from todre.bench.load.probes import kv_tokens, kv_use, metrics, resident_bytes, tower_seconds
from todre.bench.load.requests import Requests, words_of
from todre.bench.load.round import run_round
from todre.bench.load.servers import running
from todre.bench.load.settings import LoadCell, LoadSettings
from todre.errors import InvalidValueError, LoadError

FAKE = str(Path(__file__).with_name("fake_server.py"))
SETTINGS = LoadSettings(concurrency=(1,), picture=(16, 32), text_tokens=3)
REQUESTS = Requests(SETTINGS, words_of(SETTINGS))


def configuration(name="fake", *more, **fields):
    return Configuration(name=name, command=(sys.executable, FAKE, "--port", "{port}", *more), **fields)


def seen(server):
    with urllib.request.urlopen(f"{server.root}/seen") as answer:
        return json.load(answer)


def some(count):
    return REQUESTS.of_round(LoadCell(1, count), 0, 0)


@pytest.fixture
def served():
    """A fresh server, and a function that sends requests to it."""
    one = configuration()
    with running([one], "m", 60, lambda what: None) as servers:
        server = servers["fake"]

        def send(count, concurrency, timeout=60.0, **script):
            target = Target(f"{server.root}/v1", "m", 5, {"script": script}, timeout)
            return asyncio.run(drive(target, some(count), concurrency, Progress()))

        yield server, send


def test_every_piece_is_timed_after_the_server_sent_it(served):
    server, send = served
    driven = send(4, 1, pieces=4, first=0.05, gap=0.02)
    told = seen(server)["requests"]
    assert [one["model"] for one in told] == ["m"] * 4
    assert {(one["max_tokens"], one["temperature"], one["stream"]) for one in told} == {(5, 0, True)}
    for one, record in zip(driven.outcomes, told, strict=True):
        assert one.failure is None
        assert one.tokens == len(one.texts) == 4
        sent = [moment - record["came"] for moment in record["sent"]]
        assert all(there - one.sent >= here for there, here in zip(one.texts, sent, strict=True))
        assert one.first_token >= 0.05
        assert len(one.gaps) == 3
        assert sum(one.gaps) == pytest.approx(one.texts[-1] - one.texts[0])
        assert one.whole >= one.texts[-1] - one.sent
    assert driven.seconds == driven.outcomes[-1].ended


def test_tokens_are_counted_by_the_server_where_it_counts(served):
    _, send = served
    assert [one.tokens for one in send(2, 2, pieces=3, usage=11).outcomes] == [11, 11]


@pytest.mark.parametrize("clients", [1, 3, 8])
def test_as_many_requests_at_once_as_there_are_clients(served, clients):
    server, send = served
    driven = send(24, clients, first=0.05)
    assert len(driven.outcomes) == 24
    assert not [one for one in driven.outcomes if one.failure]
    assert seen(server)["most"] == clients
    for moment in [one.sent for one in driven.outcomes]:
        assert sum(one.sent <= moment < one.ended for one in driven.outcomes) <= clients


def test_failures_are_named_and_the_rest_goes_on(served):
    server, send = served
    driven = send(8, 1, refused=[2, 5], cut=[7])
    failures = [one.failure for one in driven.outcomes]
    assert [number for number, one in enumerate(failures, 1) if one] == [2, 5, 7]
    assert "500" in failures[1]
    assert "no room left" in failures[1]
    assert failures[6] == "the stream ended without a reason to finish"
    assert len(seen(server)["requests"]) == 8
    assert "no text" in send(1, 1, pieces=0).outcomes[0].failure
    assert "BadRequestError" in send(1, 1, refused=[10], status=400).outcomes[0].failure
    assert "Timeout" in send(1, 1, timeout=0.2, first=30).outcomes[0].failure


def test_server_that_is_gone_is_a_failure(served):
    server, send = served
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    failures = [one.failure for one in send(3, 2).outcomes]
    assert all("APIConnectionError" in one for one in failures)
    assert kv_use(server) is None
    assert resident_bytes(server.process.pid) == 0


def test_metrics_are_read_by_name(served):
    server, send = served
    send(4, 4, first=0.05)
    use = kv_use(server)
    assert (use.value, use.unit) == (4 * 0.0625, "share")
    assert kv_tokens(server) == 1600
    assert metrics(server, "not:asked", "absent") == {}
    assert tower_seconds(server, configuration(tower="metrics")) == 4 * 0.125
    assert tower_seconds(server, configuration(tower="vllm")) is None
    assert tower_seconds(server, configuration()) is None


def test_round_watches_the_server(served):
    server, _ = served
    target = Target(f"{server.root}/v1", "m", 5, {"script": {"first": 0.05}}, 60)
    ticks = []
    for _ in range(2):
        found = run_round(server, configuration(tower="metrics"), target, some(6), 3, 0.01, ticks.append)
        assert found.tower == 6 * 0.125
        assert max(use.value for use in found.kv) == 3 * 0.0625
        assert found.memory[0].done == 0
        assert found.memory[-1].done == 6
        assert min(moment.resident for moment in found.memory) > 2**20
    assert ticks[-1] == 6


def test_memory_that_requests_leave_behind_is_seen():
    one = configuration("fake", "--leak", str(2**22))
    with running([one], "m", 60, lambda what: None) as servers:
        target = Target(f"{servers['fake'].root}/v1", "m", 5, {}, 60)
        found = run_round(servers["fake"], one, target, some(20), 2, 0.05)
    assert found.memory[-1].resident - found.memory[0].resident >= 20 * 2**22


def test_memory_is_that_of_the_whole_family():
    child = "import time; kept = bytearray(b'x' * (1 << 26)); print('there', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout.readline() == b"there\n"
            assert resident_bytes(process.pid) >= 1 << 26
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_equal_commands_share_a_server_and_all_end_with_the_block():
    tally = []
    three = [configuration("a"), configuration("b", body={"who": "b"}), configuration("c", environment={"X": "1"})]
    with running(three, "m", 60, tally.append) as servers:
        assert servers["a"] is servers["b"]
        assert servers["a"] is not servers["c"]
        processes = {server.process.pid for server in servers.values()}
        assert len(processes) == 2
    assert tally == ["starting the server of a", "starting the server of c"]
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.killpg(process, 0)


def test_deaf_server_and_its_children_are_killed(monkeypatch):
    monkeypatch.setattr("todre.bench.load.servers.PATIENCE", 0.5)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code = deaf + f"import runpy, sys, uvicorn; sys.argv = [{FAKE!r}, '--port', sys.argv[1]]; "
    code += "uvicorn.Server.install_signal_handlers = lambda *rest: None; "
    code += f"runpy.run_path({FAKE!r}, run_name='__main__')"
    code = f"import subprocess, sys; {deaf}subprocess.run([sys.executable, '-c', {code!r}, sys.argv[1]])"
    one = Configuration(name="deaf", command=(sys.executable, "-c", code, "{port}"))
    groups = []

    def fail():
        with running([one], "m", 60, lambda what: None) as servers:
            groups.append(servers["deaf"].process.pid)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.killpg(groups[0], 0)


TERMINATED = """
import sys, time
from todre.bench.load.configurations import Configuration
from todre.bench.load.servers import running
one = Configuration(name="a", command=(sys.executable, sys.argv[1], "--port", "{port}"))
with running([one], "m", 60, lambda what: None) as servers:
    print(servers["a"].process.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_no_server_stays_when_the_run_is_ended(number, code):
    with subprocess.Popen([sys.executable, "-c", TERMINATED, FAKE], stdout=subprocess.PIPE) as process:
        group = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(30) == code
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("no-such-program",), "cannot be started (no-such-program: No such file or directory)"),
        ((sys.executable, "-c", "print('first'); raise SystemExit('no model at {model}')"), "no model at /m"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with 3 before it was ready (it printed nothing)"),
        (
            (
                sys.executable,
                "-c",
                "print('ERROR x.py:3 ValueError: too long\\nRuntimeError: see above\\nbye'); exit(3)",
            ),
            "ended with 3 before it was ready (ValueError: too long)",
        ),
        ((sys.executable, "-c", "import time; print('loading', flush=True); time.sleep(60)"), "after 1 seconds"),
    ],
)
def test_server_that_does_not_start_is_one_sentence(command, sentence):
    one = Configuration(name="broken", command=command)
    with pytest.raises(LoadError) as raised, running([one], "/m", 1, lambda what: None):
        pytest.fail("it started")
    assert sentence in str(raised.value)
    assert "server of broken" in str(raised.value)


def test_configurations_from_a_file(tmp_path):
    file = tmp_path / "servers.json"
    file.write_text(json.dumps([{"name": "a", "command": ["x"], "body": {"n": 1}}, {"name": "b", "command": ["y"]}]))
    one, other = read_configurations(file)
    assert (one.command, one.body, other.model) == (("x",), {"n": 1}, "{model}")
    for text, sentence in (
        ([], "no configuration"),
        ([{"name": "a", "command": ["x"]}] * 2, "measured twice"),
        ([{"name": "a", "command": ["x"], "bodi": {}}], "has 'bodi'"),
        ([{"name": "a"}], "command"),
        ([{"name": "a", "command": []}], "command"),
        ([{"name": "a", "command": ["x"], "tower": "log"}], "tower"),
    ):
        file.write_text(json.dumps(text))
        with pytest.raises(InvalidValueError, match=sentence):
            read_configurations(file)
    assert checked([one]) == [one]
