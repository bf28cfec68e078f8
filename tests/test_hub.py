"""The hub's own client against a small hub on this machine: what is fetched, and what is there without a network."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from todre import hub
from todre.errors import LoadError

COMMIT = "c0ffee" + "0" * 34
FILES = {"config.json": b'{"model_type": "x"}', "model.safetensors": b"12345678", "README.md": b"hello"}


class Hub(BaseHTTPRequestHandler):
    """Answers about one repository; `refusal` is a status and a code with which files are refused."""

    refusal = None

    def log_message(self, *args):
        pass

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        hashes = {name: hashlib.sha1(body).hexdigest() for name, body in FILES.items()}
        if path.startswith("/api/models/org/name/tree/"):
            listed = [
                {"type": "file", "path": name, "size": len(body), "oid": hashes[name]} for name, body in FILES.items()
            ]
            return self.reply(json.dumps(listed).encode(), Content_Type="application/json")
        if path.startswith("/api/models/org/name"):
            files = [{"rfilename": name, "size": len(body)} for name, body in FILES.items()]
            about = {"_id": "1", "id": "org/name", "modelId": "org/name", "sha": COMMIT, "siblings": files}
            return self.reply(json.dumps(about).encode(), Content_Type="application/json")
        name = path.rpartition("/")[2]
        if "/resolve/" in path and self.refusal is not None:
            status, code = self.refusal
            return self.reply(b"{}", status, X_Error_Code=code, X_Error_Message="no")
        if "/resolve/" in path and name in FILES:
            return self.reply(FILES[name], ETag=f'"{hashes[name]}"', X_Repo_Commit=COMMIT)
        return self.reply(b"{}", 404, X_Error_Code="EntryNotFound")


@pytest.fixture
def here(monkeypatch, tmp_path):
    """(handler class, function that ends the hub)."""
    import huggingface_hub.constants as constants

    handler = type("Mine", (Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    files = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def end():
        with contextlib.suppress(OSError):
            server.shutdown()
            server.server_close()

    yield handler, end
    end()


def fetch(revision=None, code=False):
    return hub.fetch("org/name", revision, code=code, announce=lambda sentence: None)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_what_was_fetched_is_there_without_a_network(here, revision):
    _, end = here
    found = fetch(revision)
    assert found.revision == COMMIT
    assert sorted(file.name for file in found.path.iterdir()) == ["config.json", "model.safetensors"]
    end()
    assert fetch(revision) == found
    if revision is None:
        assert fetch("main") == fetch(COMMIT) == found
        assert hub.fetch_config("org/name") == found.path


def test_a_config_that_was_fetched_is_there_without_a_network_and_is_no_checkpoint(here):
    _, end = here
    folder = hub.fetch_config("org/name")
    end()
    assert hub.fetch_config("org/name") == folder
    with pytest.raises(LoadError, match="neither a folder here nor in the download cache"):
        fetch()


def test_a_snapshot_that_lacks_a_file_is_not_taken(here):
    _, end = here
    (fetch().path / "model.safetensors").unlink()
    end()
    with pytest.raises(LoadError, match="neither a folder here nor in the download cache"):
        fetch()


def test_a_gated_repository_says_so_although_everybody_may_read_its_description(here):
    handler, _ = here
    handler.refusal = (403, "GatedRepo")
    for ask in (fetch, lambda: hub.fetch_config("org/name")):
        with pytest.raises(LoadError, match="is gated on the hub; accept its terms"):
            ask()


def test_a_config_that_is_not_there_is_not_a_hub_that_is_not_there(here, monkeypatch):
    monkeypatch.setitem(FILES, "model.bin", FILES["config.json"])
    monkeypatch.delitem(FILES, "config.json")
    with pytest.raises(LoadError, match=r"has no config\.json on the hub"):
        hub.fetch_config("org/name")


def test_a_download_that_breaks_off_may_be_resumed(here, monkeypatch):
    class Broken(Exception):
        """An error of a transport, which is no OSError."""

    def broken(*args, **kwargs):
        raise Broken("connection reset")

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    with pytest.raises(LoadError, match=r"could not be downloaded \(connection reset\); run it again to resume"):
        fetch()
