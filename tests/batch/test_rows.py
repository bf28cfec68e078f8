"""What rows ask: both shapes, and a sentence for every field that is unknown or cannot be used."""

import pytest
from batch.stubs import picture, request

from todre.batch.records import Record
from todre.batch.rows import ImagePart, Message, row_of
from todre.errors import InvalidValueError


def record(values):
    return Record(place=(), id="1", values=values, openai="custom_id" in values)


def test_a_plain_row():
    row = row_of(record({"id": "1", "image": "a.png", "question": "Why?", "retain": 0.5, "max_new_tokens": 3}))
    assert row.messages == (Message(role="user", content=(ImagePart(picture="a.png"), "Why?")),)
    assert (row.retain, row.max_new_tokens, row.seed, row.model) == (0.5, 3, None, "")


def test_a_plain_row_with_several_pictures():
    row = row_of(record({"images": ["a.png", "data:image/png;base64,AA=="], "question": "Why?", "retain": 20}))
    assert [part.picture for part in row.messages[0].content[:-1]] == ["a.png", "data:image/png;base64,AA=="]
    assert row.retain == 20
    assert isinstance(row.retain, int)


def test_bytes_in_a_plain_row():
    for value in (b"PNG", {"bytes": b"PNG", "path": None}, {"bytes": b"PNG", "path": "a.png"}):
        row = row_of(record({"image": value, "question": "Why?"}))
        assert row.messages[0].content[0] == ImagePart(picture=b"PNG")
    row = row_of(record({"image": {"bytes": None, "path": "a.png"}, "question": "Why?"}))
    assert row.messages[0].content[0] == ImagePart(picture="a.png")


def test_a_request_of_many_turns():
    values = request("1", picture("a.png"), "Why?", model="m", max_tokens=5, seed=3, temperature=0, n=1, stream=False,
                     todre={"retain": 0.25})  # fmt: skip
    values["body"]["messages"] = [
        {"role": "system", "content": "Be short."},
        *values["body"]["messages"],
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": [picture("b.png"), {"type": "text", "text": "And here?"}]},
    ]
    row = row_of(record(values))
    assert [message.role for message in row.messages] == ["system", "user", "assistant", "user"]
    assert row.messages[1].content == (ImagePart(picture="a.png"), "Why?")
    assert (row.retain, row.max_new_tokens, row.seed, row.model) == (0.25, 5, 3, "m")


def test_what_says_what_happens_in_any_case_is_taken():
    body = {"temperature": 0.0, "top_p": 1.0, "n": 1, "stream": False, "logprobs": False, "presence_penalty": 0,
            "frequency_penalty": 0, "store": False, "user": "me", "stop": None}  # fmt: skip
    assert row_of(record(request("1", "Why?", **body))) == row_of(record(request("1", "Why?")))


def test_nulls_of_a_request_are_not_there():
    body = {"temperature": None, "max_tokens": None, "max_completion_tokens": 4, "todre": None, "seed": None, "n": None}
    row = row_of(record(request("1", "Why?", **body)))
    assert (row.max_new_tokens, row.retain, row.seed) == (4, None, None)


PLAIN = {"image": "a.png", "question": "Why?"}
ASKED = request("1", picture("a.png"), "Why?")


def changed(**body):
    return {**ASKED, "body": {**ASKED["body"], **body}}


def said(content, role="user", **more):
    return changed(messages=[{"role": role, "content": content, **more}])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**PLAIN, "temperature": 1}, ["'temperature'", "not known"]),
        ({**PLAIN, "images": ["b.png"]}, ["image and images"]),
        ({**PLAIN, "retain": 1}, ["retain is 1, a count", "write 1.0"]),
        (changed(todre={"retain": 1}), ["todre.retain is 1, a count", "write 1.0"]),
        (changed(messages=[{"role": "user", "content": [{"type": "text", "text": "  "}]}]), ["last message is empty"]),
        (
            changed(messages=[{"role": "system", "content": [picture("a.png")]}, {"role": "user", "content": "Why?"}]),
            ["messages[0] is of the role 'system' and has a picture"],
        ),
        ({"question": "Why?"}, ["no image"]),
        ({"question": "Why?", "images": []}, ["images []"]),
        ({"question": "Why?", "images": "a.png"}, ["images 'a.png'", "list"]),
        ({"question": "Why?", "images": ["a.png", 3]}, ["images[1] 3"]),
        ({"question": "Why?", "image": ""}, ["image ''"]),
        ({"question": "Why?", "image": {"url": "a.png"}}, ["image {'url'"]),
        ({"image": "a.png"}, ["no question"]),
        ({**PLAIN, "question": "  "}, ["question '  '"]),
        ({**PLAIN, "question": 3}, ["question 3"]),
        ({**PLAIN, "retain": 0}, ["retain", "0"]),
        ({**PLAIN, "retain": 1.5}, ["retain", "1.5"]),
        ({**PLAIN, "retain": "half"}, ["retain", "half"]),
        ({**PLAIN, "max_new_tokens": 0}, ["max_new_tokens"]),
        ({**PLAIN, "max_new_tokens": 2.5}, ["max_new_tokens"]),
        ({**ASKED, "priority": 1}, ["'priority'"]),
        ({**ASKED, "method": "GET"}, ["method 'GET'", "POST"]),
        ({**ASKED, "url": "/v1/embeddings"}, ["url '/v1/embeddings'"]),
        ({**ASKED, "body": []}, ["body []"]),
        ({"custom_id": "1"}, ["no body"]),
        (changed(top_p=0.5), ["top_p 0.5", "greedy"]),
        (changed(stop="."), ["'stop'", "not known"]),
        (changed(temperature=0.7), ["temperature 0.7", "greedy"]),
        (changed(temperature=False), ["temperature False"]),
        (changed(n=2), ["n 2"]),
        (changed(stream=True), ["stream True"]),
        (changed(stream=0), ["stream 0"]),
        (changed(max_tokens=3, max_completion_tokens=4), ["max_tokens 3", "max_completion_tokens 4"]),
        (changed(max_tokens=0), ["max_tokens"]),
        (changed(seed=-1), ["seed"]),
        (changed(model=3), ["model 3"]),
        (changed(todre=0.1), ["todre 0.1"]),
        (changed(todre={"retian": 0.1}), ["'retian'"]),
        (changed(todre={"retain": 7.5}), ["retain", "7.5"]),
        (changed(messages=None), ["messages None"]),
        (changed(logprobs=True), ["logprobs True"]),
        (changed(top_p=True), ["top_p True"]),
        (changed(messages=[]), ["messages []"]),
        (changed(messages=["hello"]), ["messages ['hello']"]),
        (said("Why?", role="tool"), ["role 'tool'"]),
        (said("Why?", role="assistant"), ["last message", "assistant"]),
        (said("Why?", name="Ann"), ["messages[0]", "'name'"]),
        (said(""), ["content ''"]),
        (said([]), ["content []"]),
        (said(["Why?"]), ["messages[0].content[0] is 'Why?'"]),
        (said([{"type": "text"}]), ["messages[0].content[0]"]),
        (said([{"type": "text", "text": "Why?", "cache": 1}]), ["'cache'"]),
        (said([{"type": "input_audio"}]), ["input_audio"]),
        (said([{"type": "image_url", "image_url": "a.png"}]), ["image_url"]),
        (said([{"type": "image_url", "image_url": {"url": ""}}]), ["image_url"]),
        (said([{"type": "image_url", "image_url": {"url": "a.png", "detail": "high"}}]), ["detail 'high'", "auto"]),
        (said([{"type": "image_url", "image_url": {"url": "a.png", "size": 3}}]), ["'size'"]),
    ],
    ids=range(57),
)
def test_what_cannot_be_used_is_refused_in_one_sentence(values, words):
    with pytest.raises(InvalidValueError) as caught:
        row_of(record(values))
    message = str(caught.value)
    assert message.endswith(".")
    assert len(message) < 400
    for word in words:
        assert word in message
