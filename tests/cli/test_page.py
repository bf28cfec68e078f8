"""todre page: what fails as it starts, each in one sentence; the page itself is tested in tests/page/with_page."""

import importlib.util

import pytest
from cli.sentences import one_line

from todre.serve.launch import Place

CPU = ("--device", "cpu")


@pytest.fixture
def installed(monkeypatch):
    """As if Gradio, which has an environment of its own, were there."""
    monkeypatch.setattr("todre.page.packages._NEEDED", ())


@pytest.mark.skipif(importlib.util.find_spec("gradio") is not None, reason="Gradio is there")
def test_without_gradio_the_extra_is_named(run):
    one_line(run("page"), 1, "gradio", "pip install 'todre[page]'")


def test_a_check_answers_once(run, installed):
    result = run("page", "--check", "--port", "0", *CPU)
    assert (result.code, result.out) == (0, "a page of todre-tiny can be shown\n")


def test_what_cannot_be_shown_is_told_in_one_sentence(run, installed, tmp_path):
    with Place(port=0).open() as opened:
        opened.listen()
        one_line(run("page", "--port", str(opened.getsockname()[1])), 1, "is in use", "--port")
    one_line(run("page", "--port", "0", "-m", str(tmp_path)), 1, "has no config.json")
    one_line(run("page", "--host", "203.0.113.7", "--port", "0"), 1, "203.0.113.7")


@pytest.mark.parametrize(("words", "said"), [
    (("--port", "70000"), "--port"),
    (("--host", ""), "--host"),
    (("--dtype", "int8"), "int8"),
    (("picture.png",), "picture.png"),
])  # fmt: skip
def test_wrong_usage(run, words, said):
    one_line(run("page", *words), 2, said)
