"""Sets of pictures and questions about clips: repeatable, true by hand, with rivals in other pictures."""

from collections import Counter

import numpy as np
import pytest

from todre.errors import InvalidValueError
from todre.scenes import SPLITS, make_clip, make_set
from todre.scenes.clip import clip_objects
from todre.scenes.motion import CLIP_TASKS, ask_motion
from todre.scenes.several import ORDINALS, SET_TASKS, set_objects

SEEDS = range(150)


@pytest.fixture(scope="module")
def sets():
    return [make_set(seed, "test") for seed in SEEDS]


def words(text):
    return text.rstrip("?").split()


def shapes(things):
    return [(thing.colour, thing.shape) for thing in things if thing.kind == "shape"]


def answer_by_hand(question, pictures):
    """The answer from the words of the question and the lists of objects, without the code that asked."""
    reply = words(question.text)
    if question.task in ("which", "both"):
        wanted = tuple(reply[-2:]) if question.task == "which" else tuple(reply[3:5])
        holds = [wanted in shapes(things) for things in pictures]
        if question.task == "both":
            return "yes" if all(holds) else "no"
        assert holds.count(True) == 1
        return ORDINALS[holds.index(True)]
    things = pictures[ORDINALS.index(reply[-2])]
    if question.task == "digit":
        (shown,) = [thing.text for thing in things if thing.kind == "digit"]
        return shown
    known, asked = (reply[4], 0) if question.task == "colour" else (reply[4], 1)
    (found,) = [pair for pair in shapes(things) if pair[1 - asked] == known]
    return found[asked]


def test_answers_are_true_and_every_kind_comes(sets):
    counts = Counter()
    for each in sets:
        for question in each.questions:
            assert question.answer == answer_by_hand(question, each.objects), question
            assert question.answer in question.choices
            counts[question.task] += 1
    assert min(counts[task] for task in SET_TASKS) >= 20, counts


def test_other_pictures_show_wrong_answers(sets):
    """Where a picture is named, another one answers the same words differently."""
    for each in sets:
        for question in each.questions:
            if question.task in ("colour", "shape", "digit"):
                named = ORDINALS.index(words(question.text)[-2])
                others = [things for place, things in enumerate(each.objects) if place != named]
                key = words(question.text)[4]
                rivals = {
                    "colour": [c for things in others for c, s in shapes(things) if s == key],
                    "shape": [s for things in others for c, s in shapes(things) if c == key],
                    "digit": [thing.text for things in others for thing in things if thing.kind == "digit"],
                }[question.task]
                assert rivals
                assert question.answer not in rivals
            if question.task == "both" and question.answer == "no":
                wanted = tuple(words(question.text)[3:5])
                assert sum(wanted in shapes(things) for things in each.objects) == 1


def test_no_constant_answer_does_well(sets):
    for task in SET_TASKS:
        answers = Counter(q.answer for each in sets for q in each.questions if q.task == task)
        most = {"which": 0.5, "both": 0.65, "colour": 0.35, "shape": 0.35, "digit": 0.25}[task]
        assert max(answers.values()) / sum(answers.values()) < most, (task, answers)


def test_sets_follow_from_seed_and_split_alone():
    one, two = make_set(3), make_set(3)
    assert [image.tobytes() for image in one.images] == [image.tobytes() for image in two.images]
    assert one.questions == two.questions
    assert one.objects == set_objects(3)
    assert len({make_set(3, split).images[0].tobytes() for split in SPLITS}) == len(SPLITS)
    with pytest.raises(InvalidValueError, match="no split named 'all'"):
        make_set(0, "all")


@pytest.mark.parametrize("seed", range(12))
def test_clip_objects_are_those_of_the_clip(seed):
    clip = make_clip(seed, 5, 96, "val")
    assert clip_objects(seed, 5, 96, "val") == (clip.event, clip.objects)


def test_questions_about_motion_are_true():
    reported = Counter()
    for seed in range(60):
        clip = make_clip(seed, 4, 96, "test")
        rng = np.random.default_rng(seed)
        asked = ask_motion(rng, clip.objects, clip.event, tuple(CLIP_TASKS))
        assert {question.task for question in asked} <= {t for t, event in CLIP_TASKS.items() if event == clip.event}
        for question in asked:
            reported[question.task] += 1
            if question.task not in ("mover", "moving"):
                continue
            places = [
                {thing.name: (thing.x, thing.y) for thing in frame if thing.kind == "shape"} for frame in clip.objects
            ]
            moved = [name for name in places[0] if places[0][name] != places[-1].get(name)]
            if question.task == "mover":
                assert question.answer in moved
            else:
                asked_of = " ".join(words(question.text)[2:4])
                assert (asked_of in moved) == (question.answer == "yes")
                reported[question.answer] += 1
    assert min(reported[key] for key in (*CLIP_TASKS, "yes", "no")) >= 5, reported
