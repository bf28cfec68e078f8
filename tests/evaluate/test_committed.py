"""The committed results belong to the committed model, and every number in them follows from the committed answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from todre.evaluate import card_page
from todre.evaluate.conditions import label
from todre.evaluate.runner import model_sha256
from todre.evaluate.table import Table
from todre.scenes import TASKS, Question, make_scene, score

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def heldout():
    return json.loads((ROOT / "results/heldout.json").read_text())


@pytest.fixture(scope="module")
def card():
    return json.loads((ROOT / "results/model-card.json").read_text())


@pytest.fixture(scope="module")
def lines():
    return [json.loads(line) for line in (ROOT / "results/heldout-answers.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def table(lines, heldout):
    head, *questions = lines
    by_condition = {}
    for place, name in enumerate(head["conditions"]):
        by_condition[name] = [
            {**question, "prediction": question["predictions"][place], "score": question["scores"][place]}
            for question in questions
        ]
    return Table.of(by_condition, seed=heldout["conditions"]["bootstrap"]["seed"])


def test_results_are_of_the_model_that_ships(heldout, card):
    assert heldout["conditions"]["model"]["sha256"] == model_sha256(None)
    assert card["conditions"]["model"]["sha256"] == model_sha256(None)


def test_the_comparison_is_what_was_asked_for(heldout):
    run = heldout["conditions"]
    assert run["split"] == "test"
    assert run["mode"] == "drop"
    assert run["questions"] >= 2000
    assert set(heldout["rows"][0]["tasks"]) == set(TASKS)
    assert {values["n"] for row in heldout["rows"] for values in row["tasks"].values()} == {run["questions_per_task"]}
    asked = {(row["method"], row["retain"]) for row in heldout["rows"]}
    methods = ("todre", "todre-v1", "random", "cls-top-k")
    assert asked >= {("none", None)} | {(method, retain) for method in methods for retain in (0.25, 0.1, 0.05)}


def test_numbers_follow_from_the_answers(heldout, table):
    seeds = heldout["conditions"]["random_seeds"]
    for row in heldout["rows"]:
        if row["method"] == "none":
            names = ["none"]
        elif row["method"] == "random":
            names = [label("random", row["retain"], seed) for seed in seeds]
        else:
            names = [label(row["method"], row["retain"], stage_one=row["stages"] == "1")]
        assert table.mean(table.scores(*names)) == pytest.approx(row["all"], abs=2e-4)
        for task, values in table.by_task(table.scores(*names)).items():
            assert values["score"] == pytest.approx(row["tasks"][task]["score"], abs=2e-4)
        if "against_none" in row:
            found = table.difference(names, ["none"])
            assert found["difference"] == pytest.approx(row["against_none"]["difference"], abs=2e-4)
            assert (found["low"], found["high"]) == pytest.approx(
                (row["against_none"]["low"], row["against_none"]["high"]), abs=5e-4
            )


def test_marks_follow_from_the_answers_and_truths_from_the_scenes(lines):
    _, *questions = lines
    for line in questions[:: len(questions) // 40]:
        asked = make_scene(line["picture"], "test").questions
        assert any((q.text, q.answer) == (line["question"], line["answer"]) for q in asked)
    for line in questions:
        truth = Question(line["task"], line["question"], line["answer"])
        marks = [score(truth, prediction) for prediction in line["predictions"]]
        np.testing.assert_allclose(marks, line["scores"], atol=1e-4)


def test_no_shipped_task_is_near_chance(card):
    assert set(card["tasks"]) == set(TASKS)
    for task, values in card["tasks"].items():
        assert values["low"] > card_page.chance(values), task
