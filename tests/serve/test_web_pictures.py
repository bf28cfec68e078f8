"""A server that was told to fetch pictures: public addresses alone, and the same pixels as from a data: URL."""

from __future__ import annotations

import base64
import ipaddress
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from serve.conftest import NAME, start
from serve.pictures import questions, scene_url

from todre.inputs.http_pictures import FetchRules
from todre.serve.limits import Limits

HERE = ipaddress.ip_address("127.0.0.1")


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        if self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:{self.server.server_port}/picture")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(base64.b64decode(scene_url(3).partition(",")[2]) if self.path == "/picture" else b"no picture")

    def log_message(self, *_):
        return


@pytest.fixture(scope="module")
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.seen, server.daemon_threads = [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def started(served_model, rules):
    running = start(served_model, Limits(max_new_tokens=16, http_pictures=rules))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def strict(served_model):
    """A server that fetches, as --allow-http-pictures starts it."""
    yield from started(served_model, FetchRules())


@pytest.fixture(scope="module")
def lenient(served_model):
    """A server to which the test's web server counts as public."""
    yield from started(served_model, FetchRules(allowed=lambda address: address == HERE))


def ask(running, url):
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": questions(3)[1]}]
    got = running.client().chat.completions.create(model=NAME, messages=[{"role": "user", "content": content}])
    return got.choices[0].message.content, got.model_extra["todre"]["visual_tokens"]


def test_a_picture_is_fetched(lenient, web):
    web.seen.clear()
    assert ask(lenient, f"http://127.0.0.1:{web.server_port}/picture") == ask(lenient, scene_url(3))
    assert web.seen == ["/picture"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])
def test_the_loopback_interface_is_not_asked(strict, web, host):
    web.seen.clear()
    with pytest.raises(openai.BadRequestError, match=r"not on the public internet|no address"):
        ask(strict, f"http://{host}:{web.server_port}/picture")
    assert not web.seen


@pytest.mark.parametrize(("path", "words"), [("loop", "not on the public internet"), ("text", "not an image")])
def test_what_is_fetched_and_refused(lenient, web, path, words):
    with pytest.raises(openai.BadRequestError, match=words):
        ask(lenient, f"http://127.0.0.1:{web.server_port}/{path}")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd"])
def test_files_are_never_read(strict, url):
    with pytest.raises(openai.BadRequestError, match="no data: URL"):
        ask(strict, url)
