"""The tables that compare several models: their signs, their words and their ranks."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import pytest

from todre.reading.results import Interval

both = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "both_models.py"))
UP, DOWN, OPEN = Interval(0.1, 0.05, 0.2), Interval(-0.1, -0.2, -0.05), Interval(0.1, -0.1, 0.3)


@pytest.mark.parametrize(
    ("intervals", "words"),
    [
        ({"a": UP, "b": UP}, "the same"),
        ({"a": DOWN, "b": DOWN}, "the same"),
        ({"a": UP, "b": Interval(0.5, 0.4, 0.6)}, "the same way, **more on b**"),
        ({"a": Interval(-0.5, -0.6, -0.4), "b": DOWN}, "the same way, **more on a**"),
        ({"a": UP, "b": DOWN}, "**reversed**"),
        ({"a": UP, "b": DOWN, "c": OPEN}, "**reversed**"),
        ({"a": UP, "b": OPEN}, "only on a"),
        ({"a": OPEN, "b": UP, "c": UP}, "only on b and c"),
        ({"a": OPEN, "b": OPEN}, "nowhere told apart"),
        ({"a": UP}, ""),
    ],
)
def test_the_verdict_says_on_which_models_a_finding_shows(intervals, words):
    assert both["verdict"](intervals) == words


def test_ranks_of_equal_values_are_their_mean():
    assert both["mean_ranks"]([3.0, 1.0, 3.0, 2.0]) == [2.5, 0.0, 2.5, 1.0]


def test_spearman_is_that_of_its_formula_without_equal_values():
    for order in itertools.permutations(range(5)):
        squares = sum((place - value) ** 2 for place, value in enumerate(order))
        assert both["spearman"](range(5), order) == pytest.approx(1 - 6 * squares / (5 * 24))


@pytest.mark.parametrize("table", ["carry", "advice", "ranks"])
def test_tables_of_the_committed_boards_can_be_made(table, capsys):
    assert both["main"]([table]) == 0
    assert capsys.readouterr().out.startswith("| ")


@pytest.mark.parametrize("words", [[], ["carry", "more"], ["best"], ["best", "no-board"], ["other"]])
def test_other_words_are_refused_in_one_sentence(words, capsys):
    assert both["main"](words) == 2
    assert capsys.readouterr().err.startswith("error: write carry or advice or ranks")


def test_every_advice_is_measured_on_the_shipped_model():
    results = both["boards"]()["todre-tiny"]
    for _, retain, methods in both["ADVICE"]:
        for method in methods:
            assert both["found"](results, method, retain) is not None, (method, retain)
