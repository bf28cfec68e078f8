"""The guard in a server: of its own, and of a request; what it saw is in the reply."""

from __future__ import annotations

import openai
import pytest
from serve.conftest import NAME, RETAIN, start
from serve.pictures import questions, scene, scene_url

import todre
from todre.running import Settings, answer
from todre.serve.limits import Limits
from todre.serve.method_choice import MethodChoice
from todre.serve.refusals import RefusedError

SEES_ALL = todre.Guard(radius=0.01, rank=None, text=None)
ALWAYS = todre.Guard(action="refuse", radius=0.01, rank=None, text=None, floor=0.5)


@pytest.fixture(scope="module")
def guarded(served_model):
    running = start(served_model, Limits(max_new_tokens=16), guard=SEES_ALL)
    yield running
    running.stop()


def asked(served, seed, stream=False, **wishes):
    content = [{"type": "image_url", "image_url": {"url": scene_url(seed)}},
               {"type": "text", "text": questions(seed)[1]}]  # fmt: skip
    messages = [{"role": "user", "content": content}]
    options = {"extra_body": {"todre": wishes}} if wishes else {}
    return served.client().chat.completions.create(model=NAME, messages=messages, stream=stream, **options)


def expected(reference, seed, guard="off"):
    method = todre.ToDRE(retain=RETAIN)
    return answer(reference, [scene(seed).image], questions(seed)[1], method, Settings(16), guard)


@pytest.mark.filterwarnings("error::todre.errors.GuardWarning")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_request_chooses_what_follows_at_the_servers_thresholds(guarded, reference, seed):
    plain, whole = expected(reference, seed), answer(
        reference, [scene(seed).image], questions(seed)[1], todre.NoPruning(), Settings(16)
    )  # fmt: skip
    tokens = plain.report.visual_tokens_before[0]
    for wishes, right, left in (
        ({}, plain, plain.report.visual_tokens_after[0]),
        ({"guard": "warn"}, plain, plain.report.visual_tokens_after[0]),
        ({"guard": "refuse"}, whole, tokens),
    ):
        got = asked(guarded, seed, **wishes)
        assert got.choices[0].message.content == right.text
        (seen,) = got.model_extra["todre"]["guarded"]
        assert (seen["above"], seen["tokens"], seen["left"]) == (["radius"], tokens, left)
    got = asked(guarded, seed, guard="off")
    assert got.choices[0].message.content == plain.text
    assert "guarded" not in got.model_extra["todre"]


def test_a_stream_says_it_in_its_last_piece_and_the_metrics_count_it(guarded):
    before = guarded.metrics()["todre_guarded_pictures_total",]
    *_, last = asked(guarded, 1, stream=True, guard="refuse")
    (seen,) = last.model_extra["todre"]["guarded"]
    assert seen["left"] == seen["tokens"]
    assert guarded.metrics()["todre_guarded_pictures_total",] == before + 1
    asked(guarded, 1, guard="off")
    assert guarded.metrics()["todre_guarded_pictures_total",] == before + 1


def test_a_server_without_a_guard_has_the_default_one_for_a_request(served):
    assert "guarded" not in asked(served, 1).model_extra["todre"]
    (seen,) = asked(served, 1, guard="warn").model_extra["todre"]["guarded"]
    assert seen["radius"] is not None
    assert seen["rank"] is not None


def test_what_cannot_be_watched_is_refused_in_one_sentence(guarded):
    for wishes, words in (
        ({"method": "fastv"}, "fastv does not choose before the LLM, where the guard looks"),
        ({"guard": "on"}, "todre.guard must be one of"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            asked(guarded, 1, **wishes)
        assert words in refused.value.body["message"], refused.value.body
        assert refused.value.body["param"] == "todre.guard"
    assert asked(guarded, 1, method="fastv", guard="off").choices


def test_another_action_keeps_the_thresholds():
    todre_ = todre.ToDRE()
    choice = MethodChoice(method=todre_, guard=ALWAYS)
    assert choice.guard_of({}, todre_) == ALWAYS == choice.guard_of({"guard": "refuse"}, todre_)
    assert choice.guard_of({"guard": "warn"}, todre_) == SEES_ALL
    assert choice.guard_of({"guard": "off"}, todre_) is None
    assert MethodChoice(method=todre_).guard_of({"guard": "refuse"}, todre_) == todre.Guard(action="refuse")
    with pytest.raises(RefusedError):
        choice.guard_of({"guard": 1}, todre_)
