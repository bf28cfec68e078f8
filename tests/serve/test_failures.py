"""What goes wrong while an answer is made is told to its client, and to nobody else; the server goes on."""

from __future__ import annotations

import logging

import openai
import pytest
import torch
from serve.conftest import NAME
from serve.pictures import questions, scene_url

from todre.serve import answering


def messages(question=None):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": scene_url(0)}},
                                         {"type": "text", "text": question or questions(0)[1]}]}]  # fmt: skip


@pytest.fixture
def ask_plainly(client):
    def call(stream=False, **options):
        return client.chat.completions.create(
            **{"model": NAME, "messages": messages(), "max_tokens": 8, "stream": stream} | options
        )

    return call


def failing(error, after=0):
    """`watching`, with an error in the step after so many tokens."""
    plain, count = answering.watching, [0]

    def watching(on_token, ended):
        def fail(token):
            count[0] += 1
            if count[0] > after:
                raise error
            on_token(token)

        return plain(fail, ended)

    return watching


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "words"), [
    (RuntimeError("a bug\nof two lines"), 500, "Unexpected RuntimeError"),
    (torch.OutOfMemoryError("CUDA out of memory"), 503, "not enough memory"),
    (MemoryError(), 503, "not enough memory"),
])  # fmt: skip
def test_an_error_of_the_model(ask_plainly, monkeypatch, caplog, stream, error, status, words):
    before = ask_plainly().choices[0].message.content
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(answering, "watching", failing(error))
        with pytest.raises(openai.InternalServerError, match=words) as caught:
            list(ask_plainly(stream))
    assert caught.value.status_code == status
    assert "\n" not in caught.value.body["message"]
    assert bool(caplog.records) == (status == 500)
    assert ask_plainly().choices[0].message.content == before


def test_an_error_within_a_stream_is_an_event_of_it(ask_plainly, monkeypatch, served):
    before = ask_plainly().choices[0].message.content
    with monkeypatch.context() as patch:
        patch.setattr(answering, "watching", failing(RuntimeError("late"), after=1))
        stream = ask_plainly(stream=True, extra_body={"todre": {"retain": 0.5}})
        with pytest.raises(openai.APIError, match="Unexpected RuntimeError"):
            list(stream)
    assert ask_plainly().choices[0].message.content == before
    assert served.metrics()["todre_requests_total", "500"] >= 1


def test_a_template_that_leaves_a_text_out_is_no_answer(ask_plainly, served_model, monkeypatch):
    """Some families' templates know no system message, and would drop it without a word."""
    template = served_model.processor.chat_template
    users = template.replace("for message in messages", "for message in messages if message['role'] != 'system'")
    assert users != template
    monkeypatch.setattr(served_model.processor, "chat_template", users)
    assert ask_plainly().choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="leaves out a text of the role 'system'"):
        ask_plainly(messages=[{"role": "system", "content": "be short ."}, *messages()])


def test_a_model_without_a_template_answers_nothing(ask_plainly, served_model, monkeypatch):
    monkeypatch.setattr(served_model.processor, "chat_template", None)
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        ask_plainly()


def test_a_reply_has_the_requests_id(client):
    raw = client.chat.completions.with_raw_response.create(
        model=NAME, messages=messages(), max_tokens=2, extra_headers={"X-Request-Id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
