"""vLLM's server as `todre serve --engine vllm` starts it, asked by the `openai` client."""

import base64
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

import todre
from todre.loading.model import load
from todre.running import Settings, answer
from todre.scenes import make_scene

QUESTION = "what color is the square ?"
LONGEST = 8
LONGEST_START = 400
"""Seconds until a server has started at the latest, on a machine that does other things as well."""
OPTIONS = "--dtype float32 --enforce-eager --max-model-len 1024 --block-size 32"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The base URL of a server of the shipped model that keeps 10 %, and at most half."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "todre", "serve", "--engine", "vllm", "--engine-options", OPTIONS]
    whole = [*command, "--port", str(port), *("--retain", "0.1", "--max-retain", "0.5", "--per-request")]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(whole, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        until = time.monotonic() + LONGEST_START
        while not healthy(port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def loaded():
    return load(None, device="cpu")


def scene(number):
    return make_scene(number, "test", 192).image


def message(*pictures):
    parts = []
    for each in pictures:
        stream = io.BytesIO()
        each.save(stream, "PNG")
        url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return [{"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}]


def ask(client, *pictures, **own):
    # vLLM leaves out <s> in chats, and this model's template does not write it.
    body = {"add_special_tokens": True, **({"mm_processor_kwargs": own} if own else {})}
    reply = client.chat.completions.create(
        model="todre-tiny", messages=message(*pictures), max_tokens=LONGEST, temperature=0, extra_body=body
    )
    return reply.choices[0].message.content.strip(), reply.usage.prompt_tokens


def expected(loaded, pictures, retain):
    method = todre.ToDRE(retain=retain, stages=(1,), per="image", positions="compact")
    found = answer(loaded, pictures, QUESTION, method, Settings(max_new_tokens=LONGEST))
    return found.text, found.report.text_tokens[0] + found.report.visual_tokens_after[0]


def test_many_clients_with_budgets_of_their_own(client, loaded):
    asked = [(number, retain) for number in range(4) for retain in (None, 0.25, 20)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda each: ask(client, scene(each[0]), **({"todre_retain": each[1]} if each[1] else {})), asked)
        )
    for (number, retain), reply in zip(asked, replies, strict=True):
        assert reply == expected(loaded, [scene(number)], retain or 0.1)


def test_two_pictures(client, loaded):
    pictures = [scene(5), scene(6)]
    assert ask(client, *pictures, todre_retain=0.25) == expected(loaded, pictures, 0.25)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "https://example.com/a.png", "file:///etc/passwd"])
def test_no_picture_is_fetched_for_a_client(client, url):
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    with pytest.raises(openai.APIStatusError, match=r"domain|local"):  # of a file vLLM 0.32 says 500, else 400
        client.chat.completions.create(model="todre-tiny", messages=[{"role": "user", "content": parts}], max_tokens=1)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"todre_retain": 0.6}, "this server allows"),
        ({"todre_retain": "all"}, "this server allows"),
        ({"todre_retain": 1.0}, "this server allows"),
        ({"images_kwargs": {"todre_retain": 0.2}}, "where nobody reads it"),
        ({"todre_retain": 0}, "todre_retain must be"),
        ({"todre_retain": 1}, "would keep a single token"),
        ({"todre_retian": 0.1}, "did you mean 'todre_retain'"),
    ],
)
def test_a_bad_request_is_400_and_the_server_goes_on(client, loaded, own, sentence):
    for _ in range(2):  # the second time the picture itself is in the caches
        with pytest.raises(openai.BadRequestError, match=sentence):
            ask(client, scene(0), **own)
    assert ask(client, scene(0)) == expected(loaded, [scene(0)], 0.1)
