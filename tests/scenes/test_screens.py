"""Histories of screens: repeatable, one change at a time, true by hand, with other answers in other screens."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from todre.errors import InvalidValueError
from todre.scenes import SPLITS
from todre.scenes.screens import SCREEN_TASKS, SCREENS, make_history

SEEDS = range(120)


@pytest.fixture(scope="module")
def histories():
    return [make_history(seed, "test") for seed in SEEDS]


def states(things):
    return [(thing.colour, thing.text) for thing in things]


def shapes(things):
    return [(thing.colour, thing.shape) for thing in things if thing.kind == "shape"]


def answer_by_hand(question, screens):
    """The answer from the words of the question and the lists of objects, without the code that asked."""
    reply = question.text.rstrip("?").split()
    if question.task == "become":
        (place,) = [i for i, pair in enumerate(shapes(screens[0])) if pair == (reply[4], reply[5])]
        return shapes(screens[-1])[place][0]
    things = screens[{"first": 0, "last": -1}[reply[-2]]]
    if question.task == "digit":
        (shown,) = [thing.text for thing in things if thing.kind == "digit"]
        return shown
    if question.task == "presence":
        return "yes" if tuple(reply[3:5]) in shapes(things) else "no"
    (found,) = [colour for colour, shape in shapes(things) if shape == reply[4]]
    return found


def test_answers_are_true_and_every_kind_comes(histories):
    counts = Counter()
    for each in histories:
        assert len(each.images) == len(each.objects) == SCREENS
        for question in each.questions:
            assert question.answer == answer_by_hand(question, each.objects), question
            assert question.answer in question.choices
            counts[question.task] += 1
    assert min(counts[task] for task in SCREEN_TASKS) >= 40, counts


def test_the_other_end_of_the_history_gives_another_answer(histories):
    for each in histories:
        for question in each.questions:
            if question.task == "become":
                assert question.answer not in question.text
            else:
                assert answer_by_hand(question, each.objects[::-1]) != question.answer


def test_one_thing_changes_from_screen_to_screen_and_the_rest_stays_to_the_pixel(histories):
    for each in histories:
        for (old, before), (new, after) in pairwise(zip(each.objects, each.images, strict=True)):
            (changed,) = [i for i, (a, b) in enumerate(zip(states(old), states(new), strict=True)) if a != b]
            thing = new[changed]
            assert all(a == b for i, (a, b) in enumerate(zip(old, new, strict=True)) if i != changed)
            assert (thing.kind, thing.x, thing.y) == (old[changed].kind, old[changed].x, old[changed].y)
            differs = (np.asarray(before) != np.asarray(after)).any(axis=2)
            rows, columns = differs.nonzero()
            assert abs(rows - thing.y).max() <= thing.half_height + 2
            assert abs(columns - thing.x).max() <= thing.half_width + 2


def test_no_constant_answer_does_well(histories):
    for task in SCREEN_TASKS:
        answers = Counter(q.answer for each in histories for q in each.questions if q.task == task)
        most = 0.65 if task == "presence" else 0.35
        assert max(answers.values()) / sum(answers.values()) < most, (task, answers)


def test_histories_follow_from_seed_and_split_alone():
    one, two = make_history(3, screens=4), make_history(3, screens=4)
    assert [image.tobytes() for image in one.images] == [image.tobytes() for image in two.images]
    assert one.questions == two.questions
    assert len({make_history(3, split).images[0].tobytes() for split in SPLITS}) == len(SPLITS)
    assert make_history(5, size=(96, 192), screens=2).images[0].size == (96, 192)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(InvalidValueError, match="no split named 'all'"):
        make_history(0, "all")
    for screens in (1, True, 2.0):
        with pytest.raises(InvalidValueError, match="a history has at least 2 screens, not"):
            make_history(0, screens=screens)
