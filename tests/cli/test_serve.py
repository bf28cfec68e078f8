"""todre serve: what fails as it starts, its address on stdout, and its end by Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import openai
import pytest
from cli.sentences import one_line

from todre.inputs.data_urls import data_url
from todre.scenes import make_scene
from todre.serve.launch import Place

CPU = ("--device", "cpu")


def test_a_check_says_what_would_be_served(run):
    result = run("serve", "--check", "--port", "0", "--method", "divprune", "--retain", "0.2", *CPU)
    assert (result.code, result.out) == (0, "todre-tiny with divprune (retain 0.2) can be served\n")
    assert "is a toy" in result.err
    assert run("serve", "-q", "--check", "--port", "0", *CPU).err == ""


def test_what_cannot_be_served_is_told_in_one_sentence(run, tmp_path):
    with Place(port=0).open() as opened:
        opened.listen()
        one_line(run("serve", "--port", str(opened.getsockname()[1])), 1, "is in use", "--port")
    one_line(run("serve", "--port", "0", str(tmp_path)), 1, "has no config.json")
    one_line(run("serve", "--port", "0", "no/such/place/at/all"), 1, "neither a folder nor a hub id")
    one_line(run("serve", "--host", "203.0.113.7", "--port", "0"), 1, "203.0.113.7")


@pytest.mark.parametrize(("words", "said"), [
    (("--method", "none", "--retain", "0.5"), ("keeps every token",)),
    (("--method", "vtw", "--retain", "0.5"), ("vtw has no retain",)),
    (("--host", ""), ("--host",)),
    (("--api-key", "two words"), ("--api-key",)),
    (("--max-megapixels", "65"), ("--max-megapixels",)),
])  # fmt: skip
def test_wrong_usage(run, words, said):
    one_line(run("serve", *words), 2, *said)


@pytest.fixture
def server():
    """A server in a process of its own, as a user starts it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TODRE_API_KEY": "from the environment".replace(" ", "-")}
    process = subprocess.Popen(
        [sys.executable, "-m", "todre", "serve", "--port", "0", "--retain", "0.25", "-q", *CPU],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_an_answer_and_ctrl_c(server):
    line = server.stdout.readline()
    assert line.startswith("todre-tiny with todre (retain 0.25) at http://127.0.0.1:")
    url = line.split()[-1]
    content = [{"type": "image_url", "image_url": {"url": data_url(make_scene(3, "val").image)}},
               {"type": "text", "text": "What color is the small ring?"}]  # fmt: skip
    with openai.OpenAI(base_url=url, api_key="from-the-environment", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="todre-tiny", messages=[{"role": "user", "content": content}], max_tokens=8
        )
    assert answer.choices[0].message.content == "green"
    assert answer.model_extra["todre"]["visual_tokens"] == {"before": 744, "after": 186}
    assert json.load(urllib.request.urlopen(url.replace("/v1", "/health"), timeout=30)) == {"status": "ok"}
    server.send_signal(signal.SIGINT)
    until = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    out, err = server.communicate(timeout=10)
    assert (server.returncode, out, err) == (130, "", "interrupted\n")
