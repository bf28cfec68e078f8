"""Answers of the server equal those of `todre.running.answer`, whole and streamed, for one client and for many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from serve.conftest import NAME, RETAIN
from serve.pictures import questions, scene, scene_url

import todre
from todre.methods import registry
from todre.processing import apply
from todre.running import Settings, answer

SHORT = Settings(max_new_tokens=16)


def text_of(completion):
    return completion.choices[0].message.content


def expected(reference, seeds, question, method=None):
    return answer(
        reference, [scene(seed).image for seed in seeds], question, method or todre.ToDRE(retain=RETAIN), SHORT
    )


@pytest.mark.parametrize("seed", range(4))
def test_answers_equal_those_of_ask(ask, reference, seed):
    for question in questions(seed)[:2]:
        got, right = ask(question, seed, temperature=0), expected(reference, [seed], question)
        assert text_of(got) == right.text
        assert got.usage.completion_tokens == right.new_tokens
        assert got.choices[0].finish_reason == "stop"


def test_the_reply_says_what_was_kept(ask, reference):
    got, right = ask(questions(1)[0], 1), expected(reference, [1], questions(1)[0])
    document = right.to_dict()
    said = got.model_extra["todre"]
    assert said["visual_tokens"] == {name: document["visual_tokens"][name] for name in ("before", "after")}
    assert said["method"] == todre.ToDRE(retain=RETAIN).to_dict()
    assert (said["kv_bytes"], said["kv_bytes_unpruned"]) == (document["kv_bytes"], document["kv_bytes_unpruned"])
    assert said["dropped_after_layer"] == document["dropped_after_layer"]
    assert got.usage.prompt_tokens == document["text_tokens"] + document["visual_tokens"]["before"]


def test_two_pictures(ask, reference):
    question = "Is there a blue triangle in the picture?"
    got, right = ask(question, 3, 5), expected(reference, [3, 5], question)
    assert text_of(got) == right.text
    assert got.model_extra["todre"]["visual_tokens"]["before"] == right.report.visual_tokens_before[0]


@pytest.mark.parametrize("wishes", [
    {"retain": 0.25}, {"retain": 20}, {"method": "none"}, {"method": "divprune", "retain": 0.2}, {"method": "random"},
    {"method": "fastv"}, {"per": "image"}, {"retain": 1.0},
], ids=str)  # fmt: skip
def test_settings_of_a_request_hold_for_it_alone(ask, reference, wishes):
    question = questions(2)[1]
    named = {name: value for name, value in wishes.items() if name != "method"}
    method = todre.ToDRE(**{"retain": RETAIN} | named)
    if "method" in wishes:
        known = registry.entry(wishes["method"]).settings
        named = {name: value for name, value in ({"retain": RETAIN} | named).items() if name in known}
        method = registry.create(wishes["method"], **named)
    before, got, after = ask(question, 2), ask(question, 2, extra_body={"todre": wishes}), ask(question, 2)
    right = expected(reference, [2], question, method)
    assert text_of(got) == right.text
    said = got.model_extra["todre"]
    assert said["method"] == method.to_dict()
    assert said["visual_tokens"]["after"] == right.report.visual_tokens_after[0]
    for plain in (before, after):
        assert plain.model_extra["todre"]["method"] == todre.ToDRE(retain=RETAIN).to_dict()
        assert text_of(plain) == expected(reference, [2], question).text


def test_a_seed_is_that_of_a_method_that_chooses_at_random(ask, reference):
    texts = set()
    for seed in range(6):
        got = ask(questions(2)[1], 2, seed=seed, extra_body={"todre": {"method": "random", "retain": 9}})
        method = registry.create("random", retain=9, seed=seed)
        assert text_of(got) == expected(reference, [2], questions(2)[1], method).text
        assert got.model_extra["todre"]["method"] == method.to_dict()
        texts.add(text_of(got))
    assert len(texts) > 1


def test_stage_two_acts(ask, reference):
    """A method that always drops within the decoder says so in the reply, as in the report."""
    got = ask(questions(0)[0], 0, extra_body={"todre": {"method": "vtw"}})
    right = expected(reference, [0], questions(0)[0], registry.create("vtw"))
    layers = right.report.visual_tokens_per_layer[0]
    share = 1 - sum(layers) / (right.report.visual_tokens_after[0] * len(layers))
    assert got.model_extra["todre"]["dropped_inside"] == pytest.approx(share, abs=1e-6)
    assert got.model_extra["todre"]["dropped_inside"] > 0
    assert got.model_extra["todre"]["dropped_after_layer"] == right.report.dropped_after_layer[0]


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_the_whole_answer_in_pieces(ask, reference):
    for seed in range(3):
        question = questions(seed)[1]
        chunks = list(ask(question, seed, stream=True, stream_options={"include_usage": True}))
        right = expected(reference, [seed], question)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == right.text
        assert chunks[0].choices[0].delta.role == "assistant"
        *_, last, usage = chunks
        assert last.choices[0].finish_reason == "stop"
        assert last.model_extra["todre"]["visual_tokens"]["after"] == right.report.visual_tokens_after[0]
        assert (usage.choices, usage.usage.completion_tokens) == ([], right.new_tokens)
        assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_without_usage_has_none(ask):
    assert all(chunk.usage is None and chunk.choices for chunk in ask(questions(0)[0], 0, stream=True))


# -- conversations -----------------------------------------------------------------------------------------------------


def several_turns(client, reference, turns):
    """The server's answer to a conversation, and the model's own, by todre's parts without the server."""
    messages, conversation = [], []
    for role, parts in turns:
        content, items = [], []
        for part in parts:
            if isinstance(part, int):
                content.append({"type": "image_url", "image_url": {"url": scene_url(part), "detail": "auto"}})
                items.append({"type": "image", "image": scene(part).image})
            else:
                content.append({"type": "text", "text": part})
                items.append({"type": "text", "text": part})
        messages.append({"role": role, "content": content})
        conversation.append({"role": role, "content": items})
    got = client.chat.completions.create(model=NAME, messages=messages, temperature=0, max_tokens=16)
    inputs, _ = apply(reference.processor, conversation)
    with todre.prune(reference.model, todre.ToDRE(retain=RETAIN)) as report:
        tokens = reference.model.generate(**inputs, max_new_tokens=16, do_sample=False)
    new = tokens[0, inputs["input_ids"].shape[1] :]
    return got, reference.processor.tokenizer.decode(new, skip_special_tokens=True).strip(), report


def test_a_conversation_of_several_turns(client, reference):
    first, second, *_ = questions(3)
    got, right, report = several_turns(
        client, reference, [("user", [3, first]), ("assistant", ["yes"]), ("user", [second])]
    )
    assert text_of(got) == right
    assert got.model_extra["todre"]["visual_tokens"]["before"] == report.visual_tokens_before[0]


def test_a_second_picture_in_a_later_turn_and_a_system_message(client, reference):
    turns = [("system", ["be short ."]), ("user", [3, questions(3)[0]]), ("assistant", ["yes"]),
             ("user", [5, questions(5)[1]])]  # fmt: skip
    got, right, report = several_turns(client, reference, turns)
    assert text_of(got) == right
    assert got.model_extra["todre"]["visual_tokens"]["after"] == report.visual_tokens_after[0]


def test_a_reply_can_be_sent_back_as_it_came(client, ask):
    first = ask(questions(3)[0], 3)
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": scene_url(3)}},
                                     {"type": "text", "text": questions(3)[0]}]},
        first.choices[0].message.model_dump(),
        {"role": "user", "content": questions(3)[1]},
    ]  # fmt: skip
    assert text_of(client.chat.completions.create(model=NAME, messages=messages, max_tokens=8))


def test_text_alone_is_answered_by_the_model_as_it_is(client, reference):
    got, right, _ = several_turns(client, reference, [("user", ["Is there a ring?"])])
    assert text_of(got) == right
    assert got.model_extra["todre"]["visual_tokens"] == {"before": 0, "after": 0}


def test_unknown_words_are_named(ask):
    got = ask("Is there a zeppelin in the picture?", 0)
    assert got.model_extra["todre"]["unknown_words"] == ["zeppelin"]
    assert "unknown_words" not in ask(questions(0)[0], 0).model_extra["todre"]


# -- many at once ------------------------------------------------------------------------------------------------------


def test_twenty_clients_at_once_with_mixed_settings(served, reference):
    retains = (0.1, 0.25, 0.5, 1.0)
    tasks = [(number % 5, retains[number % 4], number % 2 == 0) for number in range(20)]

    def one(task):
        seed, retain, stream = task
        content = [{"type": "image_url", "image_url": {"url": scene_url(seed)}},
                   {"type": "text", "text": questions(seed)[1]}]  # fmt: skip
        got = served.client().chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": content}], max_tokens=16, stream=stream,
            extra_body={"todre": {"retain": retain}},
        )  # fmt: skip
        if stream:
            chunks = list(got)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            return text, chunks[-1].model_extra["todre"]["visual_tokens"]["after"]
        return text_of(got), got.model_extra["todre"]["visual_tokens"]["after"]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, tasks))
    right = {task[:2]: expected(reference, [task[0]], questions(task[0])[1], todre.ToDRE(retain=task[1]))
             for task in set(tasks)}  # fmt: skip
    assert answers == [(right[task[:2]].text, right[task[:2]].report.visual_tokens_after[0]) for task in tasks]
    assert served.metrics()["todre_requests_waiting",] == 0
