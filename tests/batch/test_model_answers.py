"""The row function of a model: the answers of `todre ask`, whatever the shape of the row."""

import dataclasses
import json
import pickle
import warnings

import pytest
from batch.stubs import picture, request
from PIL import Image

import todre
from todre.batch.lines import line_of
from todre.batch.model_answers import Answering, failure_of, with_retain
from todre.batch.parquet import _flat as flat
from todre.batch.records import Outcome, Record
from todre.errors import ImageError, InvalidValueError, LoadError
from todre.images import open_image
from todre.inputs.data_urls import data_url
from todre.loading.model import load
from todre.processing import apply
from todre.running import Settings, answer
from todre.scenes import make_scene

QUESTION = "What color is the circle?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in (3, 4):
        make_scene(seed, "val", 96).image.save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def answering(folder):
    method = todre.ToDRE(retain=0.2).to_dict()
    return Answering(folder=folder, device="cpu", method=method, max_new_tokens=8)


@pytest.fixture(scope="module")
def work(answering):
    return pickle.loads(pickle.dumps(answering)).start()


@pytest.fixture(scope="module")
def loaded():
    return load(device="cpu")


def record(values):
    return Record(place=(), id="1", values=values, openai="custom_id" in values)


def replied(work, values):
    outcome = work(record(values))
    assert outcome.failure is None, outcome.failure
    return outcome.reply


def failed(work, values):
    outcome = work(record(values))
    assert outcome.reply is None
    assert outcome.failure.message.endswith(".")
    return outcome.failure


def asked(loaded, media, question, retain, limit=8):
    return answer(loaded, media, question, todre.ToDRE(retain=retain), Settings(limit))


@pytest.mark.parametrize("question", [QUESTION, "Is there a red square in the picture?", "Describe the picture."])
def test_a_plain_row_is_answered_as_todre_ask_does(work, loaded, folder, question):
    expected = asked(loaded, [open_image(folder / "3.png")], question, 0.2)
    reply = replied(work, {"image": "3.png", "question": question})
    report = expected.report
    assert (reply.text, reply.new_tokens) == (expected.text, expected.new_tokens)
    assert reply.visual_tokens == (report.visual_tokens_before[0], report.visual_tokens_after[0])
    assert reply.prompt_tokens == report.text_tokens[0] + report.visual_tokens_before[0]
    assert reply.model == "todre-tiny"


def test_a_row_has_its_own_budget_and_length(work, loaded, folder):
    media = [open_image(folder / "4.png")]
    for retain in (0.5, 7, 1.0):
        expected = asked(loaded, media, "Describe the picture.", retain, 3)
        reply = replied(work, {"image": "4.png", "question": "Describe the picture.", "retain": retain,
                               "max_new_tokens": 3})  # fmt: skip
        assert (reply.text, reply.visual_tokens[1]) == (expected.text, expected.report.visual_tokens_after[0])
        assert (reply.new_tokens, reply.ended) == (3, "length")


def test_the_shapes_agree(work, folder):
    plain = replied(work, {"images": ["3.png", "4.png"], "question": QUESTION, "retain": 0.4})
    asked_ = request("1", picture("3.png"), picture(data_url(Image.open(folder / "4.png"))), QUESTION,
                     todre={"retain": 0.4}, model="todre-tiny", max_tokens=8)  # fmt: skip
    assert replied(work, asked_) == plain
    assert plain.visual_tokens[0] > replied(work, {"image": "3.png", "question": QUESTION}).visual_tokens[0]
    assert plain.ended == "stop"


def test_a_conversation_goes_through_the_models_own_template(work, loaded, folder):
    """The tokens are those of `generate` inside `todre.prune` on the processor's own inputs."""
    first, second = open_image(folder / "3.png"), open_image(folder / "4.png")
    values = request("1")
    values["body"]["messages"] = [
        {"role": "user", "content": [picture("3.png"), {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": [{"type": "text", "text": "And here:"}, picture("4.png"),
                                     {"type": "text", "text": QUESTION}]},
    ]  # fmt: skip
    conversation = [
        {"role": "user", "content": [{"type": "image", "image": first}, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": [{"type": "text", "text": "And here:"}, {"type": "image", "image": second},
                                     {"type": "text", "text": QUESTION}]},
    ]  # fmt: skip
    inputs, _ = apply(loaded.processor, conversation)
    with todre.prune(loaded.model, todre.ToDRE(retain=0.2)):
        tokens = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=8)
    new = tokens[0, inputs["input_ids"].shape[1] :]
    reply = replied(work, values)
    assert reply.text == loaded.processor.decode(new, skip_special_tokens=True).strip()
    assert reply.prompt_tokens == inputs["input_ids"].shape[1]


LLAVA_LIKE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""A template that sees parts of a list alone, as LLaVA-1.5's does, and no system message."""


def conversation_of_texts(*more):
    values = request("1")
    values["body"]["messages"] = [
        *more,
        {"role": "user", "content": [picture("3.png"), {"type": "text", "text": "is there a circle ?"}]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "what color is it ?"},
    ]
    return values


def test_texts_that_are_no_lists_reach_every_template(work, monkeypatch):
    rendered = []

    def watched(processor, conversation):
        inputs, prompt = apply(processor, conversation)
        rendered.append(prompt)
        return inputs, prompt

    monkeypatch.setattr(work._loaded.processor, "chat_template", LLAVA_LIKE)
    monkeypatch.setattr("todre.processing.apply", watched)
    replied(work, conversation_of_texts())
    assert rendered == ["USER: <image>\nis there a circle ? ASSISTANT: yes USER: what color is it ? ASSISTANT:"]


def test_a_text_that_the_template_leaves_out_is_an_error(work, monkeypatch):
    monkeypatch.setattr(work._loaded.processor, "chat_template", LLAVA_LIKE)
    failure = failed(work, conversation_of_texts({"role": "system", "content": "be short ."}))
    assert failure.type == "LoadError"
    assert "leaves out a text of the role 'system'" in failure.message


def test_a_row_has_to_fit_the_models_context(work, loaded, monkeypatch):
    values = {"image": "3.png", "question": QUESTION}
    prompt = replied(work, values).prompt_tokens
    monkeypatch.setattr(work._loaded.model.config.get_text_config(), "max_position_embeddings", prompt + 1)
    reply = replied(work, values)
    assert (reply.new_tokens, reply.ended) == (1, "length")
    for more in ({"max_new_tokens": 2}, {"question": QUESTION + " circle" * 9}):
        failure = failed(work, {**values, **more})
        assert failure.type == "ContextLengthError"
        assert f"context of {prompt + 1}" in failure.message


def test_a_request_without_a_picture(work):
    reply = replied(work, request("1", "Hello?"))
    assert reply.visual_tokens == (0, 0)


def test_what_a_row_leaves_behind_changes_no_other_row(work):
    values = {"image": "3.png", "question": QUESTION}
    before = replied(work, values)
    failed(work, {"image": "none.png", "question": QUESTION})
    replied(work, {"image": "4.png", "question": QUESTION, "retain": 3})
    assert replied(work, values) == before


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"image": "none.png", "question": "Why?"}, "ImageError", "does not exist"),
        ({"image": "http://127.0.0.1/a.png", "question": "Why?"}, "ImageError", "nothing is fetched"),
        ({"image": "https://example.org/a.png", "question": "Why?"}, "ImageError", "nothing is fetched"),
        ({"image": "ftp://example.org/a.png", "question": "Why?"}, "ImageError", "give a path"),
        ({"image": "data:text/plain,hello", "question": "Why?"}, "ImageError", "text/plain"),
        ({"image": "data:image/png;base64,AAAA", "question": "Why?"}, "ImageError", "not an image"),
        ({"image": ".", "question": "Why?"}, "ImageError", "is a directory"),
        ({"image": "3.png", "question": "<image> Why?"}, "InvalidValueError", "<image>"),
        ({"image": "3.png", "question": "Why?", "more": 1}, "InvalidValueError", "'more'"),
        (request("1", picture("3.png"), "Why?", model="gpt-4o"), "InvalidValueError", "todre-tiny"),
    ],
)
def test_a_row_that_cannot_be_answered_says_why(work, values, kind, words):
    failure = failed(work, values)
    assert failure.type == kind
    assert words in failure.message


def test_a_method_without_a_budget_refuses_one():
    with pytest.raises(InvalidValueError, match="'none' has no budget"):
        with_retain(todre.NoPruning(), 0.5)
    assert with_retain(todre.ToDRE(retain=0.1, stages=(1,)), 30) == todre.ToDRE(retain=30, stages=(1,))


def test_a_model_that_is_not_there_ends_the_run(answering):
    with pytest.raises(LoadError):
        dataclasses.replace(answering, model="/no/such/model").start()


def test_conditions_hold_what_can_change_an_answer(answering):
    conditions = answering.conditions()
    changes = {"max_new_tokens": 9, "seed": 1, "dtype": "bfloat16", "device": "cuda", "attn_implementation": "eager",
               "method": todre.ToDRE(retain=0.3).to_dict(), "model": "todre-tiny-video"}  # fmt: skip
    for name, value in changes.items():
        assert dataclasses.replace(answering, **{name: value}).conditions() != conditions
    assert dataclasses.replace(answering, threads=3).conditions() == conditions
    assert dataclasses.replace(answering, model="todre-tiny").conditions() == conditions


def test_conditions_say_what_auto_is(answering, monkeypatch):
    chosen = dataclasses.replace(answering, device="auto")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    here = chosen.conditions()
    assert here == dataclasses.replace(answering, device="cpu", dtype="float32").conditions()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert chosen.conditions() != here
    assert chosen.conditions() == dataclasses.replace(answering, device="cuda:1").conditions()


def test_conditions_hold_the_commit_and_the_tokenizers_files(answering, tmp_path, monkeypatch):
    monkeypatch.setattr("todre.hub.fetch_config", lambda name: tmp_path / "snapshots" / "4f1d0a")
    assert dataclasses.replace(answering, model="someone/some-model").conditions()["revision"] == "4f1d0a"
    (tmp_path / "config.json").write_text("{}")
    own = dataclasses.replace(answering, model=str(tmp_path))
    found = [own.conditions()]
    for name, text in (("merges.txt", "a b"), ("merges.txt", "a c"), ("tokenizer.model", "x")):
        (tmp_path / name).write_text(text)
        found.append(own.conditions())
    assert len({str(each) for each in found}) == 4
    assert found[0]["revision"] is None


def test_failures_are_sentences():
    assert failure_of(ImageError("It is broken.")).message == "It is broken."
    assert failure_of(MemoryError()).type == "OutOfMemory"
    assert failure_of(RuntimeError("CUDA out of memory. Tried to allocate")).type == "OutOfMemory"
    assert failure_of(KeyError("x")).message == "The row could not be answered ('x')."


def test_a_guard_looks_at_every_row_and_the_line_says_what_it_saw(answering, work, loaded, folder):
    values = {"image": "3.png", "question": QUESTION, "retain": 3}
    pruned = replied(work, values)
    assert pruned.guarded is None
    whole = asked(loaded, [open_image(folder / "3.png")], QUESTION, 1.0)
    for guard in (
        todre.Guard(radius=0.01, rank=None, text=None),
        todre.Guard(action="refuse", radius=0.01, rank=None, text=None),
    ):
        watched = dataclasses.replace(answering, guard=guard.to_dict())
        assert watched.conditions() == answering.conditions() | {"guard": guard.to_dict()}
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the line says it; a warning for each of many rows would not be read
            reply = replied(pickle.loads(pickle.dumps(watched)).start(), values)
        (seen,) = reply.guarded
        refused = guard.action == "refuse"
        assert (seen["above"], seen["kept"], seen["left"]) == (["radius"], 3, seen["tokens"] if refused else 3)
        assert reply.text == (whole.text if refused else pruned.text)
        line = json.loads(line_of(Outcome.of(record(values), reply), "0" * 16))
        assert line["guarded"] == [seen]
        body = json.loads(line_of(Outcome.of(record(values | {"custom_id": "1"}), reply), "0" * 16))["response"]["body"]
        assert body["todre"]["guarded"] == [seen]
        assert json.loads(flat(line)["guarded"]) == [seen]
    assert flat(json.loads(line_of(Outcome.of(record(values), pruned), "0" * 16)))["guarded"] is None
    assert "guarded" not in json.loads(line_of(Outcome.of(record(values), pruned), "0" * 16))


def test_a_method_that_a_guard_cannot_watch_is_refused_before_the_first_row(folder):
    fastv = todre.methods.registry.create("fastv").to_dict()
    made = Answering(folder=folder, device="cpu", method=fastv, guard=todre.Guard().to_dict())
    with pytest.raises(InvalidValueError, match="fastv does not choose before the LLM"):
        made.start()


def test_a_rows_seed_is_that_of_a_method_that_chooses_at_random(folder, loaded):
    made = Answering(folder=folder, device="cpu", method=todre.methods.registry.create("random", retain=9).to_dict())
    work = made.start()
    answers = {}
    for seed in (0, 1, 2, 3, 4, 5):
        asked_ = request("1", picture("3.png"), "Describe the picture.", seed=seed, max_tokens=8)
        answers[seed] = replied(work, asked_).text
        method = todre.methods.registry.create("random", retain=9, seed=seed)
        assert answers[seed] == answer(loaded, [open_image(folder / "3.png")], "Describe the picture.", method,
                                       Settings(8)).text  # fmt: skip
    assert len(set(answers.values())) > 1
