"""A benchmark's score from the metrics of its tasks."""

import pytest

from todre.errors import InvalidValueError
from todre.reproduce.benchmarks import BENCHMARKS, chosen


def test_scienceqa_counts_every_question_once():
    measured = {"scienceqa": {"exact_match": 0.5, "exact_match_stderr": 0.1}, "scienceqa_img": {"exact_match": 1.0}}
    score = BENCHMARKS["ScienceQA"].score(measured, {"scienceqa": 3, "scienceqa_img": 1})
    assert score == pytest.approx(100 * (3 * 0.5 + 1 * 1.0) / 4)
    assert BENCHMARKS["ScienceQA"].questions == 6258


def test_pope_is_the_mean_over_strategies_whatever_their_numbers():
    measured = {
        task: {"pope_f1_score": f1} for task, f1 in (("pope_adv", 0.8), ("pope_pop", 0.9), ("pope_random", 1.0))
    }
    assert BENCHMARKS["POPE"].score(measured, dict.fromkeys(measured, 1) | {"pope_adv": 9}) == pytest.approx(90.0)


def test_mme_adds_up_its_two_halves_where_the_paper_does():
    measured = {"mme": {"mme_perception_score": 1500.0, "mme_cognition_score": 300.0}}
    assert BENCHMARKS["MME"].score(measured, {"mme": 2374}) == 1500.0
    assert BENCHMARKS["MME-sum"].score(measured, {"mme": 2374}) == 1800.0
    assert BENCHMARKS["MME-sum"].questions == 2374
    assert BENCHMARKS["MME-sum"].tasks == ("mme",)


def test_a_benchmark_can_be_pointed_at_a_task_of_ones_own():
    gqa, pope = chosen(("GQA", "POPE"), {"POPE": "mine:right"})
    assert gqa is BENCHMARKS["GQA"]
    assert (pope.tasks, pope.questions) == (("mine",), None)
    assert pope.score({"mine": {"right": 0.25, "other": 1.0}}, {"mine": 4}) == 25.0
    (only,) = chosen(("POPE",), {"POPE": "mine"})
    assert only.score({"mine": {"right": 0.25, "right_stderr": 0.5}}, {"mine": 4}) == 25.0


def test_a_metric_that_is_not_there_is_named():
    (pope,) = chosen(("POPE",), {"POPE": "mine:rihgt"})
    with pytest.raises(InvalidValueError, match=r"'mine' of lmms-eval gave right, .*'rihgt' is needed; name it with"):
        pope.score({"mine": {"right": 0.25}}, {"mine": 4})
    (several,) = chosen(("POPE",), {"POPE": "mine"})
    with pytest.raises(InvalidValueError, match="one metric is needed"):
        several.score({"mine": {"right": 0.25, "wrong": 0.75}}, {"mine": 4})
    with pytest.raises(InvalidValueError, match="no benchmark 'POEP'"):
        chosen(("POPE",), {"POEP": "mine"})
