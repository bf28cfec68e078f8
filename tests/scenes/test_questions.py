"""Answers are true: a checker that reads the question's words and looks at the object list on its own."""

import re
from collections import Counter

import numpy as np
import pytest

from todre.scenes import TASKS, Question, ask, make_scene, score

COLOURS = {"red", "green", "blue", "yellow", "purple", "orange", "cyan"}
SHAPES = {"circle", "square", "triangle", "star", "cross", "ring"}
SINGULAR = {"crosses": "cross", **{shape + "s": shape for shape in SHAPES}}


def matching(scene, words):
    """Shapes that fit every attribute word among `words`."""
    found = [o for o in scene.objects if o.kind == "shape"]
    for word in words:
        if word in COLOURS:
            found = [o for o in found if o.colour == word]
        elif word in SHAPES:
            found = [o for o in found if o.shape == word]
        elif word in ("small", "large"):
            found = [o for o in found if o.size == word]
    return found


def only(scene, words):
    found = matching(scene, words)
    assert len(found) == 1, f"ambiguous reference {words}"
    return found[0]


def truth(scene, question):
    """The answer from the words of the question alone."""
    text = question.text.lower().rstrip("?.")
    words = text.split()
    if text.startswith("is there"):
        return "yes" if matching(scene, words) else "no"
    if text.startswith("what color"):
        return only(scene, words).colour
    if text.startswith("what shape"):
        return only(scene, words).shape
    if text.endswith("small or large"):
        return "large" if only(scene, words[:4]).half_width > 9.5 else "small"
    if text.startswith("how many"):
        return str(len(matching(scene, [SINGULAR.get(words[2], words[2])])))
    if text.startswith("where is"):
        thing = only(scene, words)
        assert min(abs(thing.x - scene.size[0] / 2), abs(thing.y - scene.size[1] / 2)) >= 8
        return ("bottom" if thing.y > scene.size[1] / 2 else "top") + (
            " right" if thing.x > scene.size[0] / 2 else " left"
        )
    if "digit" in words or "word" in words:
        kind = "digit" if "digit" in words else "word"
        (plate,) = [o for o in scene.objects if o.kind == kind]
        return plate.text
    match = re.fullmatch(r"is the (\w+ \w+) (left of|right of|above|below) the (\w+ \w+)", text)
    if match:
        first, second = only(scene, match[1].split()), only(scene, match[3].split())
        gap = {"left of": second.x - first.x, "right of": first.x - second.x}
        gap |= {"above": second.y - first.y, "below": first.y - second.y}
        assert abs(gap[match[2]]) >= 24
        return "yes" if gap[match[2]] > 0 else "no"
    raise AssertionError(f"no rule reads {question.text!r}")


@pytest.fixture(scope="module")
def asked():
    """Many questions of every task over several sizes, with their scenes."""
    pairs = []
    for seed in range(120):
        scene = make_scene(seed, "val", [192, (192, 96), (96, 192), (144, 192)][seed % 4])
        rng = np.random.default_rng(seed)
        pairs += [(scene, q) for q in ask(rng, scene.objects, TASKS * 3, *scene.size)]
        pairs += [(scene, q) for q in scene.questions]
    return pairs


def test_every_answer_is_true(asked):
    checked = Counter()
    for scene, question in asked:
        if question.task == "caption":
            continue
        assert truth(scene, question) == question.answer, question
        checked[question.task] += 1
    assert set(checked) == set(TASKS) - {"caption"}
    assert min(checked.values()) >= 200


def test_captions_name_each_pair_once_in_canonical_order(asked):
    order = ["red", "green", "blue", "yellow", "purple", "orange", "cyan"]
    for scene, question in asked:
        if question.task != "caption":
            continue
        names = question.answer.split(", ")
        assert sorted(names) == sorted({o.name for o in scene.objects if o.kind == "shape"})
        ranks = [order.index(name.split()[0]) for name in names]
        assert ranks == sorted(ranks)


def test_answers_are_among_the_choices_and_near_balance(asked):
    counts = {}
    for _, question in asked:
        if question.choices:
            assert question.answer in question.choices
            counts.setdefault(question.task, Counter())[question.answer] += 1
    for task, tally in counts.items():
        most = max(tally.values()) / sum(tally.values())
        chance = {"presence": 0.5, "relation": 0.5, "size": 0.5, "quadrant": 0.25, "count": 0.2}.get(task)
        if chance:
            assert most <= chance + 0.13, (task, tally)
        else:
            assert most <= 0.35, (task, tally)


def test_absent_pairs_are_of_three_kinds(asked):
    kinds = Counter(q.detail for _, q in asked if q.task == "presence" and q.answer == "no")
    assert set(kinds) == {"random", "popular", "adversarial"}
    assert min(kinds.values()) >= 0.2 * sum(kinds.values())


def test_adversarial_absent_pairs_share_colour_and_shape_with_the_scene(asked):
    for scene, question in asked:
        if question.detail == "adversarial":
            colour, shape = question.text.split()[3:5]
            shapes = [o for o in scene.objects if o.kind == "shape"]
            possible = {(o.colour, p.shape) for o in shapes for p in shapes} - {(o.colour, o.shape) for o in shapes}
            assert not possible or (colour, shape) in possible


def test_score_is_exact_match_and_f1_for_captions():
    question = Question("count", "How many?", "3", ("3",))
    assert score(question, " 3. ") == 1.0
    assert score(question, "33") == 0.0
    caption = Question("caption", "Describe the picture.", "red circle, blue ring")
    assert score(caption, "Red circle, blue ring") == 1.0
    assert score(caption, "blue ring, green star") == pytest.approx(0.5)
    assert score(caption, "") == 0.0
    assert score(caption, "a red circle") == pytest.approx(2 / 3)
