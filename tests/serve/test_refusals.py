"""What cannot be answered as it stands is refused with one sentence in OpenAI's shape, and the server goes on."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request

import openai
import pytest
from serve.conftest import NAME
from serve.pictures import png, questions, scene_url

PICTURE = {"type": "image_url", "image_url": {"url": scene_url(0)}}
TEXT = {"type": "text", "text": "What color is the ring?"}
BASE = {"model": NAME, "messages": [{"role": "user", "content": [PICTURE, TEXT]}], "max_tokens": 4}


def post(served, data, path="/v1/chat/completions", **headers):
    """(status, body, headers) of a request with bytes as its body."""
    request = urllib.request.Request(
        served.root + path, data, {"Content-Type": "application/json"} | headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply), reply.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def refused(served, body, status=400):
    """The sentence with which a request is refused."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    code, document, _ = post(served, data)
    assert code == status, document
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    message = document["error"]["message"]
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.fixture(scope="module", autouse=True)
def goes_on(served):
    """After all refusals of this file the server answers as before."""
    client = served.client()
    question = {"model": NAME, "max_tokens": 8, "messages": [
        {"role": "user", "content": [PICTURE, {"type": "text", "text": questions(0)[1]}]}]}  # fmt: skip
    before = client.chat.completions.create(**question).choices[0].message.content
    yield
    assert client.chat.completions.create(**question).choices[0].message.content == before


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"text"', b'{"model": NaN}', b"\xff\xfe", b'{"a":1,"a":2}', b"[" * 100_000,
    b'{"messages": "\\ud800"}',
], ids=lambda body: repr(body[:20]))  # fmt: skip
def test_a_body_that_is_no_request(served, body):
    assert "The request" in refused(served, body)


def test_a_body_that_is_too_large(served):
    code, document, _ = post(served, b" " * (64 * 2**20 + 1))
    assert code == 413
    assert "larger than" in document["error"]["message"]


def test_another_content_type(served):
    code, document, _ = post(served, json.dumps(BASE).encode(), **{"Content-Type": "text/plain"})
    assert (code, "application/json" in document["error"]["message"]) == (415, True)


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "words"), [
    ({"n": 2}, ("n is 2",)),
    ({"n": True}, ("n is True",)),
    ({"logprobs": True}, ("logprobs",)),
    ({"top_logprobs": 3}, ("top_logprobs",)),
    ({"frequency_penalty": 0.5}, ("frequency_penalty is 0.5",)),
    ({"presence_penalty": -1}, ("presence_penalty",)),
    ({"logit_bias": {"5": 100}}, ("logit_bias",)),
    ({"response_format": {"type": "json_object"}}, ("response_format",)),
    ({"tools": [{"type": "function"}]}, ("tools",)),
    ({"tool_choice": "required"}, ("tool_choice",)),
    ({"modalities": ["audio"]}, ("modalities",)),
    ({"reasoning_effort": "low"}, ("reasoning_effort",)),
    ({"store": True}, ("store",)),
    ({"metadata": {"a": "b"}}, ("metadata",)),
    ({"temperatur": 1}, ("'temperatur'", "'temperature'")),
    ({"generation_config": "{}"}, ("'generation_config'",)),
    ({"chat_template_kwargs": {}}, ("'chat_template_kwargs'",)),
    ({"temperature": 3}, ("temperature is 3", "from 0 to 2")),
    ({"temperature": 1e-300}, ("temperature is 1e-300", "give 0 for greedy decoding")),
    ({"temperature": 5e-5}, ("temperature is 5e-05", "at least 0.0001")),
    ({"temperature": "hot"}, ("temperature is 'hot'",)),
    ({"temperature": True}, ("temperature is True",)),
    ({"temperature": 10**400}, ("temperature is a whole number of",)),
    ({"temperature": 1, "top_p": -(10**400)}, ("top_p is a whole number of",)),
    ({"max_tokens": "x" * 100_000, "max_completion_tokens": 6}, ("give one of them",)),
    ({"max_tokens": 10**400}, ("max_tokens is a whole number of",)),
    ({"top_p": 0, "temperature": 1}, ("top_p is 0",)),
    ({"top_p": 0.5}, ("without a temperature",)),
    ({"seed": -1}, ("seed is -1",)),
    ({"seed": 1.5}, ("seed is 1.5",)),
    ({"stop": [""]}, ("stop",)),
    ({"stop": 5}, ("stop is 5",)),
    ({"stop": ["x"] * 17}, ("at most 16",)),
    ({"stop": "a<unk>"}, ("special token",)),
    ({"max_tokens": 0}, ("max_tokens is 0",)),
    ({"max_tokens": 65}, ("max_tokens is 65", "at most 64")),
    ({"max_tokens": 5, "max_completion_tokens": 6}, ("give one of them",)),
    ({"stream": "yes"}, ("stream is 'yes'",)),
    ({"stream_options": {"include_usage": True}}, ("stream true",)),
    ({"stream": True, "stream_options": {"usage": True}}, ("'usage'",)),
    ({"todre": 5}, ("todre is 5",)),
    ({"todre": {"retian": 0.25}}, ("'retian'", "'retain'")),
    ({"todre": {"retain": 0}}, ("todre.retain",)),
    ({"todre": {"retain": 1.5}}, ("todre.retain",)),
    ({"todre": {"retain": "0.5"}}, ("todre.retain",)),
    ({"todre": {"retain": True}}, ("todre.retain",)),
    ({"todre": {"retain": 1}}, ("a count", "1.0")),
    ({"todre": {"method": "tordre"}}, ("no method", "'todre'")),
    ({"todre": {"method": "/etc/passwd"}}, ("no method",)),
    ({"todre": {"method": "method.json"}}, ("no method",)),
    ({"todre": {"method": ["todre"]}}, ("named by text",)),
    ({"todre": {"method": "none", "retain": 0.5}}, ("would change nothing",)),
    ({"todre": {"method": "vtw", "retain": 0.5}}, ("would change nothing",)),
    ({"todre": {"per": "picture"}}, ("todre.per",)),
    ({"todre": {"stages": 1}}, ("'stages'",)),
    ({"model": None}, ("names no model",)),
])  # fmt: skip
def test_a_parameter_that_cannot_be_honoured(served, changes, words):
    message = refused(served, BASE | changes)
    for word in words:
        assert word in message


def test_another_model(served):
    assert "'gpt-4'" in refused(served, BASE | {"model": "gpt-4"}, 404)
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("gpt-4")


@pytest.mark.parametrize("changes", [
    {"n": 1}, {"frequency_penalty": 0}, {"tools": []}, {"logprobs": False}, {"response_format": {"type": "text"}},
    {"user": "somebody"}, {"temperature": None}, {"temperature": 0, "top_p": 1}, {"stop": None}, {"stop": "</s>"},
    {"max_completion_tokens": 4}, {"todre": {}}, {"todre": None}, {"todre": {"retain": None}},
], ids=str)  # fmt: skip
def test_parameters_that_change_nothing_are_taken(served, changes):
    code, document, _ = post(served, json.dumps(BASE | changes).encode())
    assert code == 200, document


# -- messages ----------------------------------------------------------------------------------------------------------


def user(*content):
    return [{"role": "user", "content": list(content)}]


def link(url, **more):
    return user({"type": "image_url", "image_url": {"url": url} | more}, TEXT)


@pytest.mark.parametrize(("messages", "words"), [
    (None, ("messages is None",)),
    ([], ("messages is []",)),
    ("hello", ("messages is 'hello'",)),
    (["hello"], ("messages[0]",)),
    ([{"role": "tool", "content": "x"}], ("tools",)),
    ([{"role": "developer", "content": "x"}], ("'system'",)),
    ([{"role": "user"}], ("content",)),
    ([{"role": "user", "content": []}], ("content",)),
    ([{"role": "user", "content": "  "}], ("empty",)),
    ([{"role": "user", "content": "x", "name": "Ann"}], ("'name'",)),
    ([{"role": "assistant", "content": "x"}], ("'assistant'",)),
    ([{"role": "system", "content": [PICTURE]}, *user(TEXT)], ("'system'", "picture")),
    ([{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}, *user(TEXT)], ("tool calls",)),
    (user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, TEXT), ("no audio",)),
    (user({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA"}}, TEXT), ("no clips",)),
    (user({"type": "image"}, TEXT), ("content[0]",)),
    (user({"type": "text"}), ("content[0]",)),
    (user({"type": "image_url", "image_url": {}}, TEXT), ("url",)),
    (user({"type": "image_url", "image_url": {"url": 5}}, TEXT), ("url",)),
    (link(scene_url(0), detail="low"), ("detail is 'low'",)),
    (link(scene_url(0), size=5), ("'size'",)),
    (user(*[PICTURE] * 5, TEXT), ("5 pictures", "at most 4")),
    (user(PICTURE, {"type": "text", "text": "what is <image> ?"}), ("<image>",)),
    (user(PICTURE, {"type": "text", "text": "ring " * 5000}), ("context",)),
    (user(PICTURE, {"type": "text", "text": "ring " * 200_001}), ("1,000,005 characters", "at most 1,000,000")),
    ([*user("x")] * 10_001, ("20,002 messages", "at most 10,000")),
])  # fmt: skip
def test_messages_that_cannot_be_asked(served, messages, words):
    message = refused(served, BASE | {"messages": messages})
    for word in words:
        assert word in message


# -- pictures ----------------------------------------------------------------------------------------------------------


def as_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "/etc/passwd", "etc/passwd", "~/picture.png", "FILE:///etc/passwd", "ftp://example.com/a.png",
    "gopher://127.0.0.1:70/", "C:\\picture.png", "//example.com/a.png", "", " file:///etc/passwd", "jar:file:///a",
    base64.b64encode(png(8, 8)).decode(),
])  # fmt: skip
def test_nothing_but_data_urls_is_read(served, url, monkeypatch):
    opened = []
    monkeypatch.setattr("todre.images.open_image", opened.append)
    message = refused(served, BASE | {"messages": link(url)})
    assert "no data: URL" in message
    assert not opened


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:1/a.png", "https://example.com/a.png", "HTTP://[::1]/a.png", "http://169.254.169.254/latest",
])  # fmt: skip
def test_web_addresses_are_not_fetched_unless_allowed(served, url, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    assert "--allow-http-pictures" in refused_offline(served, BASE | {"messages": link(url)})


def refused_offline(served, body):
    """`refused`, by the parser alone, as no request can be sent while no name can be looked up."""
    from todre.serve.limits import Limits
    from todre.serve.refusals import RefusedError
    from todre.serve.requests import parse_request

    with pytest.raises(RefusedError) as caught:
        parse_request(json.dumps(body).encode(), NAME, Limits())
    assert caught.value.status == 400
    return str(caught.value)


@pytest.mark.parametrize(("url", "words"), [
    (as_url(png(7072, 7072)), ("too large", "7072 × 7072", "32,000,000")),
    (as_url(png(7072, 7072)[:60]), ("too large", "7072 × 7072", "32,000,000")),  # told before it is decoded
    (as_url(png(9000, 9000)), ("too large", "9000 × 9000")),
    (as_url(png(4000, 2)), ("strip",)),
    (scene_url(0)[:2000], ("damaged",)),
    (as_url(b"not a picture"), ("not an image",)),
    (as_url(b""), ("empty",)),
    ("data:image/png;base64,???", ("no base64",)),
    ("data:text/html;base64,AAAA", ("'text/html'",)),
    ("data:image/png", ("data: URL",)),
])  # fmt: skip
def test_pictures_that_cannot_be_read(served, url, words):
    message = refused(served, BASE | {"messages": link(url)})
    for word in words:
        assert word in message


def test_many_pictures_that_are_too_large_together(served):
    large = {"type": "image_url", "image_url": {"url": as_url(png(5500, 5500))}}
    assert "together" in refused(served, BASE | {"messages": user(*[large] * 4, TEXT)})


# -- paths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "/v1/completions", "/v1/responses", "/v1/systemone", "/v1/audio/transcriptions", "/load_model", "/reset",
    "/v1/embeddings", "/", "/health",
])  # fmt: skip
def test_other_paths_are_not_offered(served, path):
    code, document, _ = post(served, b"{}", path)
    assert code in (404, 405)
    assert "/v1/chat/completions" in document["error"]["message"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/v1/chat/completions"])
def test_nothing_else_can_be_got(served, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(served.root + path, timeout=30)
    assert caught.value.code in (404, 405)
    caught.value.close()


def test_what_is_offered(served):
    assert [model.id for model in served.client().models.list()] == [NAME]
    assert served.client().models.retrieve(NAME).id == NAME
    assert json.load(urllib.request.urlopen(served.root + "/health", timeout=30)) == {"status": "ok"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "127.0.0.1.evil.example"])
def test_a_page_of_a_browser_cannot_ask_by_another_name(served, host):
    code, document, _ = post(served, json.dumps(BASE).encode(), Host=host)
    assert (code, "loopback" in document["error"]["message"]) == (421, True)


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "[::1]:80", "127.0.0.1"])
def test_names_of_the_loopback_interface_are_known(served, host):
    assert post(served, b"{}", Host=host)[0] == 400
