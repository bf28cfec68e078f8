"""What a user asks for is done, or a sentence says that it is not: long prompts, cut answers, seeds, idle options."""

from __future__ import annotations

import json

import pytest

QUESTION = "Is there a red square in the picture?"
SHORT = ("--max-new-tokens", "4", "--device", "cpu")
ROOM = 60


def one_line(text):
    """What is said, without the frame of a usage error."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def narrow(monkeypatch):
    """A model with fewer positions than its prompts need."""
    monkeypatch.setattr("todre.hf.positions_left.context_length", lambda model: ROOM)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "rnd.json"
    path.write_text(json.dumps({"method": "random", "positions": "original", "per": "sample", "retain": 5, "seed": 3}))
    return path


@pytest.fixture
def asked(tmp_path, picture):
    """Questions of one's own, as `analyze` and `eval` take them."""
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"id": "1", "image": picture.name, "question": QUESTION, "answer": "yes"}) + "\n")
    return path


@pytest.mark.parametrize("command", ["ask", "compare", "eval"])
def test_a_prompt_longer_than_the_context_is_refused(run, picture, asked, tmp_path, narrow, command):
    rest = {
        "ask": (picture, QUESTION, *SHORT),
        "compare": (picture, QUESTION, "--methods", "none,random", *SHORT),
        "eval": ("--tasks", asked, "--methods", "random", "--retain", "0.5", "--output", tmp_path / "run"),
    }
    result = run(command, *rest[command])
    assert result.code == 1
    assert f"tokens before pruning, and the model's context of {ROOM} has no room for it" in one_line(result.err)
    assert (QUESTION[:20] in result.err) == (command == "eval")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_cut_answer_says_so(run, picture):
    describe = (picture, "Describe the picture.", "--device", "cpu", "--max-new-tokens")
    assert "cut after 2 tokens; --max-new-tokens allows more" in one_line(run("ask", *describe, "2").err)
    assert json.loads(run("ask", *describe, "2", "--json").out)["ended"] == "length"
    whole = run("ask", picture, QUESTION, "--device", "cpu", "--json")
    assert json.loads(whole.out)["ended"] == "stop"
    assert "cut after" not in run("ask", picture, QUESTION, "--device", "cpu").err
    both = run("compare", *describe, "2", "--methods", "none,random", "--repeats", "1", "--warm-up", "0")
    assert one_line(both.err).count("cut after 2 tokens") == 2


def test_a_seed_reaches_the_method_of_a_file(run, picture, saved):
    kept = {}
    for seed in (None, 3, 1, 2):
        more = () if seed is None else ("--seed", seed)
        document = json.loads(run("ask", picture, QUESTION, "--method", saved, *more, "--json", *SHORT).out)
        assert document["method"]["seed"] == (3 if seed is None else seed)
        kept[seed] = document["kept"]
    assert kept[None] == kept[3]
    assert kept[1] != kept[2]


@pytest.mark.parametrize("command", [("kept",), ("redundancy",)])
@pytest.mark.parametrize(("option", "value"), [("--split", "train"), ("--size", "300"), ("--tasks", "word")])
def test_options_of_scenes_are_refused_beside_own_questions(run, asked, tmp_path, command, option, value):
    output = tmp_path / "out.json"
    result = run("analyze", *command, "--questions", asked, option, value, "--output", output)
    assert result.code == 2
    assert f"--questions leaves nothing for {option} to do; leave that out." in one_line(result.err)
    assert not output.exists()


def test_a_size_is_refused_where_eval_makes_no_picture(run, asked, tmp_path):
    result = run("eval", "--tasks", asked, "--methods", "random", "--size", "512", "--output", tmp_path / "run")
    assert result.code == 2
    assert "--size is of generated pictures, and files bring their own; leave it out." in one_line(result.err)


def test_per_is_refused_where_no_budget_is_divided(run, picture):
    result = run("ask", picture, QUESTION, "--method", "fastv", "--per", "image", *SHORT)
    assert result.code == 2
    assert "--per would change nothing, because fastv has no per; leave it out." in one_line(result.err)


def test_parquet_is_refused_before_the_work(run, tmp_path, picture, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError("No module named 'pyarrow'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    rows.write_text(json.dumps({"id": "1", "image": picture.name, "question": QUESTION}) + "\n")
    result = run("batch", rows, "--output", output)
    assert result.code == 1
    assert "Parquet is read and written with the pyarrow package" in one_line(result.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.png", "rows.jsonl"]


def test_advice_names_options_that_are_there(run, tmp_path, asked):
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    result = run("eval", "--tasks", asked, "--methods", "random", "--output", folder)
    assert result.code == 1
    assert "is there already; move it away, or write elsewhere." in one_line(result.err)
