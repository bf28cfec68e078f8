"""What requests hold together is bounded, whoever stays, leaves, or does not read its answer."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from fastapi import Request
from serve.conftest import NAME, RETAIN, start
from serve.pictures import questions, scene_url
from serve.test_gone import body, here, send, wait
from serve.test_refusals import post
from serve.test_web_pictures import HERE

import todre
from todre.inputs.http_pictures import FetchRules
from todre.serve import endpoint
from todre.serve.engine import Engine
from todre.serve.limits import Limits
from todre.serve.method_choice import MethodChoice
from todre.serve.transformers_server import generation_thread

PADDING = b" " * 150_000


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            if self.path.startswith("/large"):
                self.wfile.write(b"x" * 60_000)
            while self.path.startswith("/drip"):
                self.wfile.write(b"x")
                self.server.asked.set()
                time.sleep(0.02)
        except OSError:
            self.server.left.set()

    def log_message(self, *_):
        return


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.asked, server.left, server.daemon_threads = threading.Event(), threading.Event(), True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.root = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def serve(served_model):
    """serve(max_held=…) → a server with these limits."""
    running = []

    def call(rules=None, **limits):
        if rules is not None:
            limits["http_pictures"] = FetchRules(allowed=lambda address: address == HERE, **rules)
        running.append(start(served_model, Limits(max_new_tokens=8, **limits)))
        return running[-1]

    yield call
    for each in running:
        each.stop()


def with_links(*urls):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*parts, {"type": "text", "text": questions(0)[1]}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 4}


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_bodies_that_arrive_are_bounded_together(serve):
    running = serve(max_held=250_000)
    data = json.dumps(with_links(scene_url(0))).encode() + PADDING
    assert len(data) < 250_000
    half = send(running, with_links(), promised=200_000, sent=PADDING)
    wait(lambda: here(running) == 1)
    wait(lambda: post(running, data)[0] == 503)
    code, document, headers = post(running, data)
    assert (code, document["error"]["code"], headers["retry-after"]) == (503, "overloaded", "1")
    assert "at most 250,000" in document["error"]["message"]
    code, document, _ = post(running, b" " * 40_000_000)  # its client reads nothing before all is sent
    assert (code, document["error"]["code"]) == (503, "overloaded")
    half.close()
    wait(lambda: here(running) == 0)
    for _ in range(3):  # what each holds is given back
        assert post(running, data)[0] == 200


def test_what_is_thrown_away_is_not_held(serve):
    running = serve(max_held=250_000, max_body=200_000)
    for _ in range(3):
        assert post(running, b" " * 300_000)[0] == 413
    assert post(running, json.dumps(with_links(scene_url(0))).encode())[0] == 200


def test_files_that_are_fetched_are_part_of_the_request(serve, web):
    running = serve({}, max_body=100_000)
    one, two = (f"{web.root}/large/{number}" for number in range(2))
    with pytest.raises(openai.BadRequestError, match="not an image"):
        running.client().chat.completions.create(**with_links(one))
    code, document, _ = post(running, json.dumps(with_links(one, two)).encode())
    assert code == 413
    assert "the files of its pictures have more than 100,000 bytes" in document["error"]["message"]


def test_all_pictures_of_a_request_have_one_deadline(serve, web):
    running = serve({"seconds": 0.4, "together": 0.2})
    with pytest.raises(openai.BadRequestError, match=r"or all pictures longer than 0\.2"):
        running.client().chat.completions.create(**with_links(*(f"{web.root}/drip/{n}" for n in range(3))))


# -- clients that leave ------------------------------------------------------------------------------------------------


def test_fetching_ends_when_the_client_has_left(serve, web):
    running = serve({"seconds": 600.0, "together": 600.0})
    connection = send(running, with_links(f"{web.root}/drip"))
    assert web.asked.wait(60)
    connection.close()
    assert web.left.wait(60)


def test_no_more_pictures_are_decoded_than_may_be_when_clients_leave(serve, monkeypatch):
    go, begun, inside, most = threading.Event(), [], [], []
    plain = endpoint.read_turns

    def slow(*arguments):
        begun.append(1)
        inside.append(1)
        most.append(len(inside))
        go.wait(60)
        inside.pop()
        return plain(*arguments)

    monkeypatch.setattr(endpoint, "read_turns", slow)
    running = serve(prepared=1)
    first = send(running, body(False, 4))
    wait(lambda: begun)
    first.close()
    wait(lambda: running.metrics().get(("todre_requests_total", "499"), 0) == 1)
    second = send(running, body(False, 4))
    wait(lambda: here(running) == 1)
    time.sleep(0.3)
    go.set()
    wait(lambda: running.metrics().get(("todre_requests_total", "200"), 0) == 1)
    second.close()
    assert (len(begun), max(most)) == (2, 1)


# -- clients that do not read ------------------------------------------------------------------------------------------


def asked(document):
    """A request whose client stays."""
    arrived = [{"type": "http.request", "body": json.dumps(document).encode(), "more_body": False}]

    async def receive():
        if not arrived:
            await asyncio.Event().wait()
        return arrived.pop()

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    return Request(scope, receive)


def test_a_client_that_does_not_read_its_stream_keeps_nobody_waiting(served_model, monkeypatch):
    seen, plain = [], endpoint.read_turns

    def watched(*arguments):
        turns = plain(*arguments)
        seen.append(weakref.ref(turns[-1]))
        return turns

    monkeypatch.setattr(endpoint, "read_turns", watched)
    methods = MethodChoice(method=todre.ToDRE(retain=RETAIN), retain=RETAIN)
    engine = Engine(served_model, generation_thread())

    async def stuck(message):
        await asyncio.Event().wait()

    async def scenario():
        chat = endpoint.ChatEndpoint(engine, NAME, methods, Limits(max_new_tokens=8, prepared=1, max_waiting=0))
        request = asked(body(True, 8))
        reply = await chat(request)
        reading = asyncio.ensure_future(reply(request.scope, request.receive, stuck))
        other = None
        for _ in range(3000):  # until the first answer is made, it is one that runs
            await asyncio.sleep(0.02)
            if b"todre_requests_running 0.0" in chat.metrics.page():
                break
        other = await asyncio.wait_for(chat(asked(body(False, 8))), 60)
        assert other.status_code == 200
        await asyncio.sleep(0.1)
        page = chat.metrics.page().decode()
        assert "todre_requests_running 0.0" in page
        assert "todre_requests_waiting 0.0" in page
        assert not reading.done()
        gc.collect()
        assert seen[0]() is None
        reading.cancel()
        await asyncio.wait((reading,))
        assert 'todre_requests_total{status="499"} 1.0' in chat.metrics.page().decode()

    asyncio.run(scenario())
