"""Automatic budgets and the guard on the command line: taken where they can be, else refused in one sentence."""

from __future__ import annotations

import json

import pytest
from cli.sentences import one_line

import todre
from todre.evaluate.grid import grid
from todre.methods.auto_budget import AutoBudget
from todre.methods.guard import save

QUESTION = "What color is the square?"
DOES_NOT_CHOOSE = "fastv does not choose before the LLM, where the guard looks; "


def test_ask_takes_an_automatic_budget_and_a_guard(run, picture, tmp_path):
    budget = AutoBudget(rule="coverage", threshold=0.8)
    result = run("ask", picture, QUESTION, "--retain", "auto-coverage-0.8", "--json", "--device", "cpu")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["method"]["retain"] == budget.to_plain()
    assert found["auto_budgets"] == [found["visual_tokens"]["after"]]
    assert found["auto_budgets"][0] < found["visual_tokens"]["before"]
    assert (found["guard"], found["guarded"]) == (None, [])
    file = tmp_path / "guard.json"
    save(todre.Guard(action="refuse", radius=0.01, rank=None, text=None), file)
    for guard, whole in ((file, True), ("warn", False)):
        result = run("ask", picture, QUESTION, "--retain", "3", "--guard", guard, "--device", "cpu", "--json")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        assert found["guard"]["action"] == ("refuse" if whole else "warn")
        (seen,) = found["guarded"]
        assert (seen["left"] == seen["tokens"]) == whole
        assert (found["visual_tokens"]["after"] == found["visual_tokens"]["before"]) == whole
        assert bool(found["notes"]) == (whole or bool(seen["above"]))


def test_compare_gives_each_method_the_budget_and_the_guard(run, picture):
    arguments = (
        "compare",
        picture,
        QUESTION,
        "--methods",
        "none,todre,divprune",
        "--retain",
        "auto",
        "--guard",
        "warn",
    )
    result = run(*arguments, "--json", "--device", "cpu", "--warm-up", 0, "--repeats", 1)
    assert result.code == 0, result.err
    none, *pruned = json.loads(result.out)["answers"]
    assert none["auto_budgets"] == []
    for answer in pruned:
        assert answer["auto_budgets"] == [answer["visual_tokens"]["after"]]
        assert answer["guard"]["action"] == "warn"
    assert run(*arguments[:-4], "--methods", "todre", "--retain", "auto").code == 2  # named twice


def test_eval_has_a_row_for_each_budget(run, tmp_path):
    arguments = ("eval", "--tasks", "scenes-count", "--limit", 3, "--device", "cpu", "--methods", "todre")
    budgets = ("--retain", "0.1,auto,auto-rank-1", "--output", tmp_path / "run")
    result = run(*arguments, *budgets, "--json")
    assert result.code == 0, result.err
    rows = {row["name"]: row for row in json.loads(result.out)["rows"] if row["retain"] is None}
    assert list(rows) == ["none", "todre@auto", "todre@auto-rank-1"]
    assert rows["todre@auto"]["fields"]["retain"] == AutoBudget().to_plain()
    assert 0 < rows["todre@auto"]["visual_tokens"] < rows["none"]["visual_tokens"]
    again = run(*arguments, *budgets, "--guard", "refuse")
    one_line(again, 1, "guard")
    result = run(*arguments, "--retain", "0.1", "--guard", "refuse", "--output", tmp_path / "other", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["conditions"]["guard"]["action"] == "refuse"


def test_of_all_methods_those_without_automatic_budgets_keep_their_numbers():
    made = grid(["fastv", "divprune"], [0.1, AutoBudget()], forgiving=True)
    assert [row.label for row in made.rows] == ["none", "fastv@0.1", "divprune@0.1", "divprune@auto"]
    assert list(made.left_out) == ["fastv@auto"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ask", "{}", QUESTION, "--retain", "auto-far"), "There is no automatic budget 'auto-far'; write auto, "),
        (
            ("ask", "{}", QUESTION, "--retain", "auto", "--method", "fastv"),
            "FastV.retain must be a fraction in (0, 1] ",
        ),
        (("ask", "{}", QUESTION, "--guard", "on"), "off, warn, refuse"),
        (("ask", "{}", QUESTION, "--guard", "warn", "--method", "fastv"), DOES_NOT_CHOOSE),
        (("compare", "{}", QUESTION, "--guard", "warn", "--methods", "todre,fastv"), DOES_NOT_CHOOSE),
        (("flops", "--retain", "auto"), "'auto' is a budget that depends on the picture, and this needs a number; "),
        (
            ("bench", "--retain", "0.1,auto"),
            "'auto' is a budget that depends on the picture, and this needs a number; ",
        ),
        (
            ("vllm-args", "--retain", "auto"),
            "'auto' is a budget that depends on the picture, and this needs a number; ",
        ),
        (("ask", "{}", QUESTION, "--guard", "nowhere.json"), "nowhere.json"),
        (("chat", "{}", "--guard", "warn", "--method", "fastv"), DOES_NOT_CHOOSE),
        (("serve", "--check", "--port", "0", "--guard", "warn", "--method", "fastv"), DOES_NOT_CHOOSE),
        (("serve", "--engine", "vllm", "--check", "--guard", "warn"), "--guard"),
        (
            ("batch", "{}", "--question", QUESTION, "--output", "{}.jsonl", "--guard", "warn", "--method", "vtw"),
            "vtw does not choose before the LLM",
        ),
        (
            (
                "batch",
                "{}",
                "--question",
                QUESTION,
                "--output",
                "{}.jsonl",
                "--guard",
                "warn",
                "--endpoint",
                "http://127.0.0.1:9/v1",
            ),
            "--guard",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(run, picture, arguments, sentence):
    result = run(*(each.format(picture) for each in arguments))
    one_line(result, 2, sentence)


def test_a_batch_takes_a_guard_which_is_one_of_its_settings(run, picture, tmp_path):
    output, file = tmp_path / "out.jsonl", tmp_path / "guard.json"
    save(todre.Guard(action="refuse", radius=0.01, rank=None, text=None), file)
    words = ("batch", picture, "--question", QUESTION, "--output", output, "--retain", "3", "--device", "cpu")
    assert run(*words, "--guard", file).code == 0
    (line,) = map(json.loads, output.read_text().splitlines())
    (seen,) = line["guarded"]
    assert line["visual_tokens"]["after"] == seen["left"] == line["visual_tokens"]["before"]
    one_line(run(*words), 1, "guard.action")
    assert run(*words, "--guard", file).code == 0
