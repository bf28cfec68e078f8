"""Questions that training asks: their answers are true, their texts differ, and counts are balanced."""

from __future__ import annotations

from collections import Counter

from todre.scenes import make_scene
from todre.scenes.questions import every_count, shapes_of
from todre.smol.training.data import counting_questions, large_scene, worded_questions


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


def test_counts_are_balanced_where_they_were_not():
    def answers(ask):
        scenes = [large_scene(seed, seed) for seed in range(100)]
        return Counter(q.answer for step, scene in enumerate(scenes) for q in ask(scene, step) if q.task == "count")

    before, after = answers(worded_questions), answers(counting_questions)
    assert before["0"] > 3 * before["4"]
    assert max(after[answer] for answer in "01234") < 2.2 * min(after[answer] for answer in "01234")


def test_each_text_is_asked_once():
    for seed in range(10):
        texts = [question.text for question in counting_questions(large_scene(seed, seed), seed)]
        assert len(set(texts)) == len(texts)
