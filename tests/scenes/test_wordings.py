"""Wordings: what is asked stays the same, held-out wordings are never those of training, and sentences are scored."""

import re

import numpy as np
import pytest

from todre.errors import InvalidValueError
from todre.scenes import TASKS, WORDED, Question, as_sentence, make_scene, make_set, reword, score, wordings_of
from todre.scenes.scoring import mentioned_pairs
from todre.scenes.vocabulary import COLOURS, SHAPES, SIZES, article, plural

NAMES = {*COLOURS, *SHAPES, *map(plural, SHAPES), *SIZES}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "up": "down", "down": "up"}
FORWARD = {
    "left of": ("left",),
    "right of": ("right",),
    "above": ("above", "higher", "up"),
    "below": ("below", "lower", "down"),
}


@pytest.fixture(scope="module")
def stock():
    """Every question of some scenes, the sentences included."""
    scenes = [make_scene(seed, "val", 128) for seed in range(25)]
    return [q for s in scenes for q in [*s.questions, *(as_sentence(q) for q in s.questions if q.task == "caption")]]


def names_in(text):
    """The names that a question mentions, in order; "small or large" names nothing."""
    plain = re.sub(
        "small (or|one or a) large|large or (the )?small|small one or a large one|the large or the small",
        "",
        text.lower(),
    )
    return [word for word in re.findall("[a-z]+", plain) if word in NAMES]


def test_every_task_has_enough_wordings_and_no_wording_is_in_both_splits():
    assert (*TASKS, "sentence") == WORDED
    seen = []
    for task in WORDED:
        training, held_out = wordings_of(task, "train"), wordings_of(task, "test")
        assert len(set(training)) >= 4
        assert len(set(held_out)) >= 2
        assert held_out == wordings_of(task, "val")
        seen += [*training, *held_out]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_only_the_text_changes(stock, split):
    rng = np.random.default_rng(0)
    said = {task: set() for task in WORDED}
    for question in stock:
        for _ in range(4):
            other = reword(question, rng, split)
            assert (other.task, other.answer, other.choices, other.detail) == (
                question.task, question.answer, question.choices, question.detail,
            )  # fmt: skip
            assert other.text != question.text
            assert "{" not in other.text
            said[question.task].add(other.text)
            if question.task != "relation":
                assert names_in(other.text) == names_in(question.text), other.text
    assert all(len(texts) >= 2 for texts in said.values())


def test_texts_of_training_and_of_the_other_splits_are_disjoint(stock):
    texts = {
        split: {reword(q, np.random.default_rng(n), split).text for q in stock for n in range(8)}
        for split in ("train", "val")
    }
    assert texts["train"].isdisjoint(texts["val"])
    assert (texts["train"] | texts["val"]).isdisjoint(question.text for question in stock)


def test_a_relation_keeps_its_direction_and_which_thing_it_asks_about(stock):
    for question in stock:
        if question.task != "relation":
            continue
        first, second = re.findall(r"the (\w+ \w+?)(?: left of| right of| above| below|\?)", question.text)
        for split in ("train", "test"):
            for seed in range(12):
                text = reword(question, np.random.default_rng(seed), split).text
                words = re.findall("[a-z]+", text)
                assert any(word in words for word in FORWARD[question.detail]), text
                assert not any(word in words for word in map(OPPOSITE.get, FORWARD[question.detail]) if word), text
                asked, from_there = (second, first) if text.startswith("Seen from") else (first, second)
                assert text.index(asked) < text.index(from_there)


def test_articles_fit(stock):
    for question in stock:
        if question.task == "presence":
            for seed in range(10):
                for split in ("train", "val"):
                    text = reword(question, np.random.default_rng(seed), split).text.lower()
                    (colour,) = [word for word in text.split() if word in COLOURS]
                    assert f"{article(colour)} {colour}" in text


def test_a_sentence_names_the_pairs_of_its_caption_and_is_scored_like_it():
    two = Question("caption", "Describe the picture.", "red circle, blue star, orange ring")
    sentence = as_sentence(two)
    assert (sentence.task, sentence.text) == ("sentence", "Describe the picture in a sentence.")
    assert sentence.answer == "There is a red circle, a blue star and an orange ring."
    assert score(sentence, sentence.answer) == score(sentence, two.answer) == score(two, sentence.answer) == 1.0
    assert score(sentence, "I see a red circle.") == pytest.approx(2 * 1 / (3 + 1))
    assert score(sentence, "There is a cat.") == 0.0
    assert as_sentence(Question("caption", "", "red ring")).answer == "There is a red ring."
    for seed in range(10):
        for question in make_scene(seed, "val").questions:
            if question.task == "caption":
                assert mentioned_pairs(as_sentence(question).answer) == mentioned_pairs(question.answer)


def test_what_cannot_be_reworded_is_refused_in_one_sentence():
    rng = np.random.default_rng(0)
    question = make_scene(0).questions[0]
    with pytest.raises(InvalidValueError, match="split named 'dev'; use one of train, val, test"):
        reword(question, rng, "dev")
    with pytest.raises(InvalidValueError, match="wordings of the task 'which'"):
        reword(Question("which", "", ""), rng, "train")
    with pytest.raises(InvalidValueError, match="is not the stock wording of a presence question"):
        reword(reword(question, rng, "train"), rng, "train")
    with pytest.raises(
        InvalidValueError, match="only a caption becomes a sentence, not a question of the task 'presence'"
    ):
        as_sentence(question)
    colour = next(q for seed in range(99) for q in make_set(seed).questions if q.task == "colour")
    with pytest.raises(InvalidValueError, match="not the stock wording of a colour question"):
        reword(colour, rng, "train")
