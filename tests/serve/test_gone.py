"""Clients that go away: their answers are given up, waiting or running, and the next answer is right."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from serve.conftest import NAME, RETAIN, start
from serve.pictures import questions, scene, scene_url

import todre
from todre.hf import token_streaming
from todre.running import Settings, answer
from todre.serve.limits import Limits


@pytest.fixture(scope="module")
def slow(served_model):
    """A server whose answers take until `go` is set, token by token, so that clients have time to go away."""
    go, tokens = threading.Event(), []
    plain = token_streaming.watching

    def watching(on_token, ended):
        def waited(token):
            tokens.append(token)
            go.wait(0.2)
            on_token(token)

        return plain(waited, ended)

    patch = pytest.MonkeyPatch()
    patch.setattr("todre.serve.answering.watching", watching)
    patch.setattr("todre.serve.answering.closing_tokens", lambda model: frozenset())
    patch.setattr(served_model.model.generation_config, "eos_token_id", None)  # so that every answer is long
    running = start(served_model, Limits(max_new_tokens=200, max_waiting=3, prepared=2))
    running.go, running.tokens = go, tokens
    yield running
    running.stop()
    patch.undo()


def body(stream, tokens=200):
    content = [{"type": "image_url", "image_url": {"url": scene_url(0)}}, {"type": "text", "text": questions(0)[1]}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": tokens, "stream": stream}


def send(served, document, promised=0, sent=None):
    """A connection on which a request was sent, or the beginning of one, and nothing is read."""
    data = json.dumps(document).encode() if sent is None else sent
    host, port = served.root.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    opened.sendall(f"{head}Content-Length: {promised or len(data)}\r\n\r\n".encode() + data)
    return opened


def wait(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def here(served):
    metrics = served.metrics()
    return metrics["todre_requests_running",] + metrics["todre_requests_waiting",]


@pytest.mark.parametrize("stream", [True, False])
def test_a_running_answer_is_given_up(slow, stream):
    slow.tokens.clear()
    left = slow.metrics().get(("todre_requests_total", "499"), 0)
    connection = send(slow, body(stream))
    wait(lambda: len(slow.tokens) >= 2)
    connection.close()
    wait(lambda: here(slow) == 0)
    assert len(slow.tokens) < 100
    wait(lambda: slow.metrics()["todre_requests_total", "499"] == left + 1)


def test_answers_that_wait_are_given_up_and_too_many_are_refused(slow):
    slow.tokens.clear()
    connections = [send(slow, body(number % 2 == 0)) for number in range(4)]
    wait(lambda: here(slow) == 4 and slow.tokens)
    with pytest.raises(openai.InternalServerError, match="at most 3 may wait") as caught:
        slow.client().chat.completions.create(**body(False, 1))
    assert caught.value.status_code == 503
    for connection in connections:
        connection.close()
    wait(lambda: here(slow) == 0)
    assert len(slow.tokens) < 100


def test_the_client_program_can_leave_a_stream(slow):
    slow.tokens.clear()
    stream = slow.client().chat.completions.create(**body(True))
    next(iter(stream))
    stream.close()
    wait(lambda: here(slow) == 0)
    assert len(slow.tokens) < 100


def test_the_next_answers_are_right(slow, reference):
    """Cut at the length that was asked for, with the texts of the model as it is."""
    slow.go.set()
    reference.model.generation_config.eos_token_id, end = None, reference.model.generation_config.eos_token_id
    try:
        right = answer(reference, [scene(0).image], questions(0)[1], todre.ToDRE(retain=RETAIN), Settings(12))
    finally:
        reference.model.generation_config.eos_token_id = end
    assert right.new_tokens == 12
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda _: slow.client().chat.completions.create(**body(False, 12)), range(3)))
    assert {each.choices[0].message.content for each in got} == {right.text}
    assert {each.choices[0].finish_reason for each in got} == {"length"}


def test_a_server_that_ends_gives_up_what_runs(served_model, slow):
    slow.go.clear()
    slow.tokens.clear()
    other = start(served_model, Limits(max_new_tokens=200))
    connection = send(other, body(True))
    wait(lambda: slow.tokens)
    other.stop()
    connection.close()
    assert len(slow.tokens) < 150
