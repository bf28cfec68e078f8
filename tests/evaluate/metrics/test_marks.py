"""Marks of single answers against examples worked by hand."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError
from todre.evaluate.metrics import MARKS, check_metric, classes_of, mark
from todre.evaluate.metrics.vqa import normalise, vqa_accuracy
from todre.evaluate.metrics.words import anls, edit_distance, exact_match, relaxed_accuracy
from todre.evaluate.metrics.yes_no import mme_says, pope_says


def test_exact_match_takes_any_reference():
    assert exact_match(" Top  Left. ", ["bottom", "top left"]) == 1.0
    assert exact_match("top", ["top left"]) == 0.0


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("kitten", "sitting", 1 - 3 / 7),
        ("hello", "hello", 1.0),
        ("HELLO ", "hello", 1.0),
        ("abcd", "ab", 0.0),  # a distance of exactly half is none
        ("abcde", "abc", 0.6),
        ("", "a", 0.0),
    ],
)
def test_anls_by_hand(reply, reference, expected):
    assert anls(reply, [reference]) == pytest.approx(expected)
    assert anls(reply, ["zzzzzzzzzzzz", reference]) == pytest.approx(expected)


def slow_distance(a, b):
    """By its recursive definition."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return slow_distance(a[1:], b[1:])
    return 1 + min(slow_distance(a[1:], b), slow_distance(a, b[1:]), slow_distance(a[1:], b[1:]))


@settings(max_examples=40)
@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_edit_distance_is_its_definition(a, b):
    assert edit_distance(a, b) == slow_distance(a, b)


@pytest.mark.parametrize(
    ("reply", "reference", "expected"),
    [
        ("105", "100", 1.0),
        ("94.9", "100", 0.0),
        ("95", "100", 1.0),
        ("1,050", "1000", 1.0),
        ("50%", "0.5", 1.0),
        ("0", "0", 1.0),
        ("0.01", "0", 0.0),
        ("-104", "-100", 1.0),
        ("Blue.", "blue", 1.0),
        ("nan", "1", 0.0),
    ],
)
def test_relaxed_accuracy_by_hand(reply, reference, expected):
    assert relaxed_accuracy(reply, [reference]) == expected


@pytest.mark.parametrize(("agree", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_by_hand(agree, expected):
    assert vqa_accuracy("yes", ["yes"] * agree + ["no"] * (10 - agree)) == pytest.approx(expected)


def test_vqa_accuracy_is_the_mean_over_all_sets_of_nine():
    references = ["red", "red", "dark red", "maroon", "red", "brown", "maroon", "pink", "pink", "dark red"]
    for reply in set(references):
        sets = list(itertools.combinations(references, 9))
        assert vqa_accuracy(reply, references) == pytest.approx(
            sum(min(1, s.count(reply) / 3) for s in sets) / len(sets)
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat.", "cat"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("10,000", "10000"),
        ("3.5", "3.5"),
        ("yes, it is", "yes it is"),
        ("black/white", "black white"),
        ("a\nb", "b"),
    ],
)
def test_vqa_normalisation(text, expected):
    assert normalise(text) == expected


def test_pope_reads_the_first_sentence():
    assert pope_says("No, there is none.") == "no"
    assert pope_says("There is not. Yes.") == "no"
    assert pope_says("Yes. There is no doubt.") == "yes"
    assert pope_says("Maybe") == "yes"


def test_mme_reads_four_letters():
    assert [mme_says(text) for text in ("Yes", "no", "Yes, it is", "It is. No", "perhaps")] == [
        "yes", "no", "yes", "other", "other",
    ]  # fmt: skip


def test_captions_are_an_f1_of_pairs():
    assert mark("pairs-f1", "red star and blue ring", ("red star, cyan cross",)) == 0.5


def test_metrics_by_name():
    assert classes_of("pope", "No.", ("Yes",)) == ("no", "yes")
    assert classes_of("exact", "No.", ("Yes",)) == ("", "")
    for name in MARKS:
        assert check_metric(name) == name
    with pytest.raises(InvalidValueError, match=r"'f1'; the metrics are exact, vqa"):
        check_metric("f1")
