"""Pictures of web addresses: public ones alone, within limits, by addresses that were checked."""

from __future__ import annotations

import ipaddress
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from todre.errors import ImageError
from todre.inputs import http_pictures
from todre.inputs.http_pictures import FetchRules, fetch_picture
from todre.inputs.public_addresses import is_public

BODY = b"the bytes of a picture"
HERE = ipaddress.ip_address("127.0.0.1")


class Pages(BaseHTTPRequestHandler):
    """A web server's pages; what was asked for is noted."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Host"]))
        kind, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, f"page_{kind.partition('?')[0]}")(rest)

    def page_picture(self, _):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def page_to(self, place):
        self.send_response(302)
        self.send_header("Location", place.replace("PORT", str(self.server.server_port)))
        self.end_headers()

    def page_round(self, _):
        self.page_to("/round")

    def page_missing(self, _):
        self.send_error(404)

    def page_endless(self, _):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            return

    def page_cut(self, _):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(BODY)

    def page_slow(self, where):
        """Bytes that come one by one, in the headers or in the body."""
        self.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if where == "body" else b"X-Slow: "))
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            return

    def log_message(self, *_):
        return


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.seen, server.daemon_threads = [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.root = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def rules(**changes):
    """Rules by which the test's own web server counts as public, and nothing else of this machine."""
    return FetchRules(**{"allowed": lambda address: address == HERE, "seconds": 5.0} | changes)


# -- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "0.1.2.3", "192.0.0.8", "192.0.2.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::808:808", "2002:7f00:1::",
    "2002:808:808::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::127.0.0.1",
    "fec0::1", "feff::1", "3fff::1", "3fff:fff::1", "192.88.99.1", "168.63.129.16",
])  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", [
    "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.1.2.3", "2130706433", "0x7f000001", "127.1",
    "017700000001", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "user@127.0.0.1",
])  # fmt: skip
def test_this_machine_is_not_asked(web, host):
    with pytest.raises(ImageError, match=r"public internet|no address|password"):
        fetch_picture(f"http://{host}:{web.server_port}/picture")
    assert not web.seen


def test_a_host_with_one_address_that_is_not_public_is_refused(web):
    def lookup(host, port):
        return [HERE, ipaddress.ip_address("10.0.0.1")]

    with pytest.raises(ImageError, match=r"10\.0\.0\.1"):
        fetch_picture(f"http://two.example:{web.server_port}/picture", rules(lookup=lookup))
    assert not web.seen


def test_a_name_is_looked_up_once_and_the_checked_address_is_opened(web, monkeypatch):
    """A name that answers with another address the second time (DNS rebinding) leads nowhere."""
    asked = []

    def lookup(host, port):
        asked.append(host)
        return [HERE] if len(asked) == 1 else [ipaddress.ip_address("127.0.0.2")]

    opened = []
    create = http_pictures.socket.create_connection
    monkeypatch.setattr(
        http_pictures.socket, "create_connection", lambda place, *rest: opened.append(place) or create(place, *rest)
    )
    assert fetch_picture(f"http://rebinding.example:{web.server_port}/picture", rules(lookup=lookup)) == BODY
    assert asked == ["rebinding.example"]
    assert opened == [("127.0.0.1", web.server_port)]
    assert web.seen == [("/picture", f"rebinding.example:{web.server_port}")]


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_picture_is_fetched(web):
    assert fetch_picture(f"{web.root}/picture?size=1", rules()) == BODY
    assert fetch_picture(f"{web.root}/to//picture", rules()) == BODY
    assert [path for path, _ in web.seen] == ["/picture?size=1", "/to//picture", "/picture"]


@pytest.mark.parametrize("place", [
    "http://127.0.0.2:PORT/picture", "http://localhost.localdomain:PORT/picture", "http://[::1]:PORT/picture",
    "//127.0.0.2:PORT/picture", "file:///etc/passwd", "ftp://127.0.0.1/a", "http://10.0.0.1/a",
])  # fmt: skip
def test_a_redirect_is_checked_as_the_first_address_is(web, place):
    with pytest.raises(ImageError, match=r"public internet|no http|no address"):
        fetch_picture(f"{web.root}/to/{place}", rules())
    assert [path for path, _ in web.seen] == [f"/to/{place}"]


@pytest.mark.parametrize("place", ["http://[x/", "//[/"])
def test_a_redirect_to_what_is_no_address(web, place):
    with pytest.raises(ImageError, match="which is no address"):
        fetch_picture(f"{web.root}/to/{place}", rules())


def test_redirects_end(web):
    with pytest.raises(ImageError, match="more than 3 times"):
        fetch_picture(f"{web.root}/round", rules())
    assert len(web.seen) == 4


def test_a_large_file_is_left(web):
    with pytest.raises(ImageError, match="larger than 1,000,000 bytes"):
        fetch_picture(f"{web.root}/endless", rules(most_bytes=1_000_000))


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_slow_sender_cannot_draw_it_out(web, where):
    with pytest.raises(ImageError, match=r"longer than 0\.4 seconds"):
        fetch_picture(f"{web.root}/slow/{where}", rules(seconds=0.4))


def test_the_end_may_come_sooner_and_pieces_may_be_refused(web):
    with pytest.raises(ImageError, match=r"or all pictures longer than 30"):
        fetch_picture(f"{web.root}/slow/body", rules(), time.monotonic() + 0.3)

    def full(size):
        raise MemoryError(size)

    with pytest.raises(MemoryError, match=str(len(BODY))):
        fetch_picture(f"{web.root}/picture", rules(), take=full)


@pytest.mark.parametrize(("path", "words"), [("missing", "answered 404"), ("cut", "cannot be fetched")])
def test_what_is_no_whole_file(web, path, words):
    with pytest.raises(ImageError, match=words):
        fetch_picture(f"{web.root}/{path}", rules())


def test_a_host_that_does_not_answer(web):
    port = web.server_port
    web.shutdown()
    web.server_close()
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch_picture(f"http://127.0.0.1:{port}/picture", rules())


@pytest.mark.parametrize("url", [
    "http://", "http:///a", "https://exa mple.com/", "http://example.com:99999/", "http://example.com:0/", "ftp://a.b/c",
    "http://[::1", "http://example.com/\r\nHost: a", "http://exämple.com/a", "http://a:b@example.com/", "file:///etc/passwd",
])  # fmt: skip
def test_what_is_no_address(url, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    with pytest.raises(ImageError):
        fetch_picture(url)


def test_an_encrypted_address_is_checked_by_its_name(web):
    """A server without encryption cannot pass for one: the connection is made, and the handshake fails."""
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch_picture(f"https://127.0.0.1:{web.server_port}/picture", rules())
