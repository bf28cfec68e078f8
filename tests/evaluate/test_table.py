"""Means, balance, comparisons and the page made from them, on answers whose truth is known."""

import json

import numpy as np
import pytest

from todre.errors import InvalidValueError
from todre.evaluate.conditions import comparison
from todre.evaluate.heldout import answers_file, rows_of, summarise
from todre.evaluate.statistics import wilson
from todre.evaluate.table import Table, balanced
from todre.reading.result_pages import findings, page

RETAINS, SEEDS = [0.25, 0.05], [0, 1]
CONDITIONS = comparison(RETAINS, SEEDS, stage_one=True)
SKILL = {"none": 0.9, "todre": 0.8, "todre-v1": 0.8, "random": 0.3, "cls-top-k": 0.5}


def played(skill=SKILL, pictures=80):
    """Answers of methods with known skill; captions get partial marks."""
    by_condition = {}
    for index, condition in enumerate(CONDITIONS):
        rng = np.random.default_rng(index)
        method = condition.name.split("@")[0].split("/")[0]
        records = []
        for picture in range(pictures):
            for task in ("presence", "count", "caption") if picture % 4 else ("presence", "caption"):
                right = rng.random() < skill[method]
                score = 0.25 + 0.5 * right if task == "caption" else float(right)
                dropped = 7 if condition.name == "todre@0.25" and picture % 2 else None
                records.append(
                    {"picture": picture, "task": task, "question": task, "answer": "yes", "prediction": "yes",
                     "score": score, "visual_tokens": 37, "dropped_after": dropped, "ratios": {}}
                )  # fmt: skip
        by_condition[condition.name] = records
    return by_condition


@pytest.fixture(scope="module")
def table():
    return Table.of(played(), resamples=2000)


@pytest.fixture(scope="module")
def document(table):
    run = {
        "model": {"id": "m", "sha256": "0" * 64, "dtype": "float32", "device": "cpu",
                  "attn_implementation": "sdpa", "image_processor_backend": "pil"},
        "split": "test", "questions": 180, "questions_per_task": 60, "pictures": 80, "picture_size": 192,
        "random_seeds": SEEDS, "bootstrap": {"resamples": 2000, "seed": 0},
    }  # fmt: skip
    return {"command": "command", "conditions": run, **summarise(table, CONDITIONS, RETAINS, SEEDS)}


def test_every_task_has_as_many_questions_as_the_rarest(table):
    assert {task: int((table.tasks == task).sum()) for task in set(table.tasks)} == {
        "presence": 60,
        "count": 60,
        "caption": 60,
    }
    assert balanced(["a", "a", "b", "a", "b"]) == [0, 1, 2, 4]


def test_conditions_must_have_answered_the_same_questions():
    answers = played(pictures=4)
    answers["none"] = answers["none"][1:]
    with pytest.raises(InvalidValueError, match="other questions"):
        Table.of(answers)


def test_means_and_intervals_come_from_the_answers(table, document):
    rows = {(row["method"], row["retain"], row["stages"]): row for row in document["rows"]}
    assert len(rows) == 1 + 2 * 6
    none = rows["none", None, ""]
    scores = [record["score"] for record in table.records["none"]]
    assert none["all"]["score"] == pytest.approx(np.mean(scores), abs=1e-6)
    presence = [record["score"] for record in table.records["none"] if record["task"] == "presence"]
    assert (none["tasks"]["presence"]["low"], none["tasks"]["presence"]["high"]) == pytest.approx(
        wilson(int(sum(presence)), 60), abs=1e-6
    )
    assert none["tasks"]["caption"]["interval"] == "bootstrap"
    random = rows["random", 0.05, ""]
    both = [[r["score"] for r in table.records[f"random@0.05#{seed}"]] for seed in SEEDS]
    assert random["all"]["score"] == pytest.approx(np.mean(both), abs=1e-6)
    assert random["all"]["low"] < random["all"]["score"] < random["all"]["high"]


def test_paired_differences_find_what_was_put_in(document):
    for pair in document["pairs"]:
        truth = SKILL[pair["first"]] - SKILL[pair["second"]]
        assert pair["difference"] == pytest.approx(truth * 5 / 6, abs=0.12)
        assert ("mcnemar" in pair) == ("random" not in (pair["first"], pair["second"]))
        if abs(truth) >= 0.3:
            assert pair["low"] * truth > 0
            assert pair["high"] * truth > 0
    clear = next(p for p in document["pairs"] if (p["first"], p["second"]) == ("todre", "cls-top-k"))
    assert clear["mcnemar"]["p"] < 0.01


def test_stage_two_is_counted(table, document):
    fired = next(r for r in document["rows"] if r["method"] == "todre" and r["retain"] == 0.25)["stage_2"]
    odd = sum(record["picture"] % 2 for record in table.questions)
    assert fired == {"asked": 180, "dropped": odd, "by_layer": {"7": odd}}


def test_the_page_says_who_wins_and_who_is_not_separated(document):
    _, first, _ = findings(document)
    best = max(
        (r for r in document["rows"] if r["retain"] == 0.25 and r["stages"] in ("", "both")),
        key=lambda row: row["all"]["score"],
    )
    winner, other = ("v2", "v1") if best["method"] == "todre" else ("v1", "v2")
    assert f"**ToDRE {winner}** has the highest mean" in first
    assert "beyond the interval over" in first
    assert f"not separated from ToDRE {other}" in first
    text = page(document, "heldout.json", "heldout-answers.jsonl")
    assert text.count("| ToDRE v2 | 25 % |") == 2
    assert "7" in text.split("## Stage 2")[1]
    assert max(len(line) for line in text.splitlines() if not line.startswith(("|", "    ", "*"))) <= 118


def test_the_answers_file_holds_every_score(table):
    head, *lines = [json.loads(line) for line in answers_file(table).splitlines()]
    assert head["conditions"] == [condition.name for condition in CONDITIONS]
    assert len(lines) == 180
    for place, name in enumerate(head["conditions"]):
        assert [line["scores"][place] for line in lines] == [r["score"] for r in table.records[name]]


def test_rows_name_conditions_that_exist():
    names = {condition.name for condition in CONDITIONS}
    assert {name for row in rows_of(RETAINS, SEEDS, stage_one=True) for name in row.names} == names
