"""Answers do not depend on batching, sharing, or what was answered before."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

import todre
import todre.errors
from todre.evaluate import batch_answers as answering
from todre.evaluate.conditions import BLIND, NONE, Condition, comparison
from todre.evaluate.probes import DropAfter, ObserveAttention, first_layers
from todre.evaluate.session import Session
from todre.scenes import TASKS, make_scene

CONDITIONS = [*comparison([0.2], [0], stage_one=True), BLIND, Condition("drop", DropAfter(layer=3))]
CONDITIONS += [Condition("first", todre.NoPruning(), first_layers=2)]


def reply_text(session, condition, group=0):
    return [record.prediction for record in session.answer_group(group, condition)[0]]


def alone(session, condition):
    """Every third question by itself through plain `generate`, with the pictures' pixels; None for the others."""
    replies = []
    model, processor = session.loaded.model, session.loaded.processor
    for seed in (0, 1):
        scene = make_scene(seed, "val", 96)
        image = scene.image if condition.picture == "true" else Image.new("RGB", (96, 96), (128, 128, 128))
        for place, question in enumerate(scene.questions):
            if place % 3 != seed:
                replies.append(None)
                continue
            (prompt,) = answering.prepare(session.loaded, image, [question]).prompts
            pixels = processor.image_processor(image, return_tensors="pt")
            with first_layers(model, condition.first_layers), todre.prune(model, condition.method_for(0)):
                tokens = model.generate(
                    input_ids=prompt[None], **pixels, max_new_tokens=answering.new_tokens(question), do_sample=False
                )
            replies.append(processor.decode(tokens[0, len(prompt) :], skip_special_tokens=True).strip())
    return replies


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.name)
def test_batches_and_shared_beginnings_give_what_single_questions_give(session, condition):
    together = reply_text(session, condition)
    single = alone(session, condition)
    checked = [place for place, reply in enumerate(single) if reply is not None]
    assert [together[place] for place in checked] == [single[place] for place in checked]
    assert len(checked) >= 5
    assert len(set(together)) >= len(together) // 3, "the model says too little for this test to mean anything"


@pytest.mark.parametrize("condition", [CONDITIONS[1], CONDITIONS[3]], ids=lambda c: c.name)
def test_batch_size_changes_nothing(session, condition):
    small = Session(replace(session.settings, batch_size=3), session.loaded)
    assert reply_text(small, condition) == reply_text(session, condition)


def test_order_and_repetition_change_nothing(session):
    conditions = [CONDITIONS[1], CONDITIONS[3], CONDITIONS[4], BLIND]
    first = {condition.name: reply_text(session, condition) for condition in conditions}
    reply_text(session, CONDITIONS[4], group=1)
    again = {condition.name: reply_text(session, condition) for condition in reversed(conditions)}
    assert again == first
    assert len({tuple(answers) for answers in first.values()}) == 4


def test_records_say_what_was_asked_and_what_was_dropped(session):
    records, seconds = session.answer_group(1, Condition("drop", DropAfter(layer=3)))
    questions = [question for seed in (2, 3) for question in make_scene(seed, "val", 96).questions]
    assert [(r.task, r.question, r.answer) for r in records] == [(q.task, q.text, q.answer) for q in questions]
    assert {record.picture for record in records} == {2, 3}
    assert {record.dropped_after for record in records} == {3}
    assert seconds > 0


def test_random_draws_are_new_for_each_group_and_seed():
    random = next(c for c in CONDITIONS if c.name.startswith("random"))
    other = Condition("random@0.2#1", todre.RandomTokens(retain=0.2, seed=1))
    seeds = {condition.method_for(group).seed for condition in (random, other) for group in range(50)}
    assert len(seeds) == 100
    assert NONE.method_for(7) is NONE.method


def test_dropping_by_rule_is_stage_two_with_a_threshold_of_one(session):
    rule = session.answer_group(0, Condition("rule", DropAfter(layer=3)))[0]
    ratio = todre.ToDRE(stages=(2,), layers=(3,), threshold=1.0)
    measured = session.answer_group(0, Condition("measured", ratio))[0]
    assert [r.prediction for r in rule] == [r.prediction for r in measured]
    assert {r.dropped_after for r in rule + measured} == {3}


def test_observing_changes_no_answer_and_measures_every_layer(session):
    observed = session.answer_group(0, Condition("observe", ObserveAttention()))[0]
    assert [record.prediction for record in observed] == reply_text(session, NONE)
    for record in observed:
        assert list(record.ratios) == [str(layer) for layer in range(1, 5)]
        assert all(0.0 < to_visual < 1.0 for to_visual, _ in record.ratios.values())


def test_the_blind_control_cannot_tell_pictures_apart(session):
    records = session.answer_group(0, BLIND)[0]
    by_question = {}
    for record in records:
        by_question.setdefault(record.question, set()).add(record.prediction)
    repeated = [r.question for r in records if [x.question for x in records].count(r.question) > 1]
    assert repeated
    assert all(len(by_question[question]) == 1 for question in repeated)


def test_deleting_layers_runs_those_before_and_puts_them_back(session):
    model = session.loaded.model
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        states = model.get_decoder()(input_ids=ids, output_hidden_states=True).hidden_states
        with first_layers(model, 2):
            shortened = model.get_decoder()(input_ids=ids).last_hidden_state
        expected = model.get_decoder().norm(states[2])
        whole = model.get_decoder()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(shortened, expected)
    assert not torch.allclose(shortened, whole)
    with pytest.raises(ZeroDivisionError), first_layers(model, 2):
        raise ZeroDivisionError
    assert model.get_decoder().config.num_hidden_layers == 4
    with pytest.raises(todre.errors.InvalidValueError, match=r"1\.\.4"), first_layers(model, 5):
        pass


def test_every_true_answer_fits_into_the_tokens_given(loaded, monkeypatch):
    monkeypatch.undo()
    longest = dict.fromkeys(TASKS, 0)
    for seed in range(60):
        for question in make_scene(seed, "val").questions:
            length = len(loaded.processor.tokenizer(question.answer, add_special_tokens=False)["input_ids"]) + 1
            longest[question.task] = max(longest[question.task], length)
            assert length <= answering.new_tokens(question)
    assert longest["caption"] > 20


def test_prompts_that_differ_before_the_picture_ends_are_not_shared(session):
    model = session.loaded.model
    scene = make_scene(0, "val", 96)
    prepared = answering.prepare(session.loaded, scene.image, scene.questions[:2])
    other = prepared.prompts[1].clone()
    other[1] += 1
    with todre.prune(model, todre.NoPruning()) as report, torch.no_grad():
        features = [answering.encode(model, prepared.pixels)] * 2
        with pytest.raises(todre.errors.UnsupportedInputError, match="differ within"):
            answering.answer(session.loaded, report, [prepared.prompts[0], other], features, 4, share=True)
