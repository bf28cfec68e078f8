"""Every registered method as a request's: the answer is that of `todre.running.answer`, or its error's sentence."""

from __future__ import annotations

import openai
import pytest
from serve.conftest import NAME, RETAIN
from serve.pictures import questions, scene

from todre.errors import TodreError
from todre.inputs.data_urls import data_url
from todre.methods import registry
from todre.running import Settings, answer

QUESTION = questions(1)[1]
SMALL = scene(1).image.resize((96, 64))
URL = data_url(SMALL)
REFUSED = {"pixelprune", "evs", "vidcom2", "fitprune", "g-search"}
"""Methods that need another tower, a clip, or to be fitted first."""


def right(reference, name):
    """(text, visual tokens that entered the decoder, bytes of cache), or the sentence of the error."""
    settings = {"retain": RETAIN} if "retain" in registry.entry(name).settings else {}
    try:
        found = answer(reference, [SMALL], QUESTION, registry.create(name, **settings), Settings(max_new_tokens=4))
    except TodreError as error:
        return str(error)
    return found.text, found.report.visual_tokens_after[0], found.report.kv_bytes[0]


def served_answer(client, name):
    content = [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": QUESTION}]
    try:
        got = client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": content}], max_tokens=4,
            extra_body={"todre": {"method": name}},
        )  # fmt: skip
    except openai.BadRequestError as error:
        return error.body["message"]
    said = got.model_extra["todre"]
    return got.choices[0].message.content, said["visual_tokens"]["after"], said["kv_bytes"]


def test_pictures_are_not_resized_for_a_client(client):
    assert "resize each picture with todre.downsample(" in served_answer(client, "downsample")


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "downsample"])
def test_a_method(client, reference, name):
    got = served_answer(client, name)
    assert got == right(reference, name)
    if name in REFUSED:
        assert isinstance(got, str)
