"""Questions that training asks: their answers are true, their texts differ, and counts are balanced."""

from __future__ import annotations

from collections import Counter

import pytest

from todre.scenes import Question, make_scene
from todre.scenes.questions import every_count, shapes_of
from todre.smol.training.data import FIRSTS_MIX, counting_questions, counting_scene, large_scene, worded_questions


def test_every_count_is_asked_once_and_is_true():
    for seed in range(30):
        objects = make_scene(seed, "train").objects
        asked = every_count(objects)
        for question in asked:
            name = question.text.removeprefix("How many ").removesuffix(" are there?")
            first = name.removesuffix(" shapes")
            singular = {"crosses": "cross"}.get(name, name.removesuffix("s"))
            seen = [thing for thing in shapes_of(objects) if first == thing.colour or singular == thing.shape]
            assert question.answer == str(len(seen)), question
        assert len({question.text for question in asked}) == len(asked)
        assert all(0 <= int(question.answer) <= 4 for question in asked)


@pytest.fixture(scope="module", params=[{}, {"mix": FIRSTS_MIX, "wordings": 1}], ids=["counts", "firsts"])
def counts(request: pytest.FixtureRequest) -> list[tuple[set[str], Question]]:
    """Counts that a stage asks of 120 pictures, each with the plain texts of its picture's."""
    found = []
    for step in range(120):
        scene = counting_scene(step, step)
        plain = {question.text for question in every_count(scene.objects)}
        asked = counting_questions(scene, step, **request.param)
        found += [(plain, question) for question in asked if question.task == "count"]
    return found


def test_counts_are_balanced_where_they_were_not(counts):
    scenes = [large_scene(seed, seed) for seed in range(100)]
    drawn = [q.answer for step, scene in enumerate(scenes) for q in worded_questions(scene, step) if q.task == "count"]
    before, after = Counter(drawn), Counter(question.answer for _, question in counts)
    assert before["0"] > 3 * before["4"]
    assert max(after[answer] for answer in "01234") < 3 * min(after[answer] for answer in "01234")


def test_the_wording_of_a_count_does_not_tell_its_answer(counts):
    asked = Counter(question.answer for _, question in counts)
    plain = Counter(question.answer for texts, question in counts if question.text in texts)
    overall = plain.total() / asked.total()
    assert 0.3 < overall < 0.7
    for answer in "01234":
        error = (overall * (1 - overall) / asked[answer]) ** 0.5
        assert abs(plain[answer] / asked[answer] - overall) < 3 * error, answer


def test_pictures_for_counts_are_chosen_for_large_ones():
    def large(draw):
        return sum(q.answer in "34" for seed in range(40) for q in every_count(draw(seed, seed, "val").objects))

    assert large(counting_scene) > 1.5 * large(large_scene)


def test_each_text_is_asked_once():
    for seed in range(10):
        texts = [question.text for question in counting_questions(counting_scene(seed, seed), seed)]
        assert len(set(texts)) == len(texts)
