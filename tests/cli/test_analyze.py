"""`todre analyze`: each instrument writes its files and says what it found; bad input is one sentence."""

import json

import pytest
from cli.sentences import one_line
from lively import lively
from PIL import Image

import todre
from todre.cli.analyze import COMMANDS
from todre.cli.analyze_tables import show_kept
from todre.cli.reference import reference
from todre.tiny.export import export

SMALL = ("--split", "val", "--size", 96, "--device", "cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lively")
    export(*lively(), folder)
    return folder


@pytest.fixture
def own(tmp_path):
    """Questions of one's own about four small pictures."""
    lines = []
    for number in range(4):
        Image.new("RGB", (96, 48), (40 * number, 90, 20)).save(tmp_path / f"{number}.png")
        lines.append({"image": f"{number}.png", "question": "What color is it?", "answer": "red", "task": "colour"})
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


CASES = {
    "migration": ("--limit", 2, "--max-new-tokens", 3),
    "horizon": ("--limit", 1, "--window", 12, "--layers", "1,3"),
    "redundancy": ("--limit", 2),
    "calibrate": ("--limit", 8, "--tasks", "presence,colour", "--layers", "2", "--max-new-tokens", 2, "--loss", 0.9),
    "guard": ("--limit", 8, "--tasks", "presence,colour", "--max-new-tokens", 2, "--loss", 0.9),
    "kept": ("--limit", 1, "--methods", "todre,random", "--retain", 0.1, "--max-new-tokens", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_each_instrument_writes_a_document_and_a_figure(run, checkpoint, tmp_path, name):
    output = tmp_path / "found.json"
    result = run("analyze", name, "-m", checkpoint, *SMALL, *CASES[name], "--output", output)
    assert result.code == 0, result.err
    document = json.loads(output.read_text())
    assert document["command"].startswith("todre")
    assert document["conditions"]["questions"]["questions"] == CASES[name][1]
    assert str(output) in result.err
    assert result.out.strip()
    with Image.open(tmp_path / "found.png") as figure:
        assert figure.size[0] > 300
    beside = {"calibrate": {"found.method.json"}, "guard": {"found.guard.json"}}
    left = {"found.json", "found.png"} | beside.get(name, set())
    assert {path.name for path in tmp_path.iterdir()} == left


def test_own_questions_and_json(run, checkpoint, own, tmp_path):
    figure = tmp_path / "c.svg"
    common = ("-m", checkpoint, "--device", "cpu", "--questions", own, "--json", "--output", tmp_path / "c.json")
    result = run(
        "analyze", "calibrate", *common, "--retain", 20, "--layers", "2", "--max-new-tokens", 2, "--figure", figure
    )
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document["conditions"]["questions"]["file"] == "questions.jsonl"
    saved = json.loads((tmp_path / "c.method.json").read_text())
    assert todre.ToDRE.from_dict(saved).retain == 20
    assert figure.read_text().lstrip().startswith("<?xml")


def test_what_the_pair_leaves_of_a_method_is_said(run, checkpoint, tmp_path):
    method, output = tmp_path / "m.json", tmp_path / "c.json"
    method.write_text(json.dumps({"method": "todre", "stages": [2], "ahead": "layers"}))
    common = ("analyze", "calibrate", "-m", checkpoint, *SMALL, *CASES["calibrate"], "--method", method, "--force")
    pair, horizon = (run(*common, "--output", output, "--find", find) for find in ("pair", "horizon"))
    assert (pair.code, horizon.code) == (0, 0), pair.err + horizon.err
    assert "It was measured, and is written, without ahead=layers of the given method." in pair.out
    assert "It was measured" not in horizon.out
    written = json.loads((tmp_path / "c.method.json").read_text())
    assert (written["stages"], written["ahead"]) == ([2], "layers")


def test_the_reference_has_a_section_for_each():
    text = reference()
    assert "## todre analyze\n" in text
    for name in CASES:
        assert f"    todre analyze {name} [OPTIONS]" in text


@pytest.mark.parametrize("name", CASES)
def test_help_ends_with_examples(run, name):
    result = run("analyze", name, "--help")
    assert result.code == 0
    assert f"todre analyze {name}" in result.out.split("Examples")[1]
    assert name in {function.__name__ for function, *_ in COMMANDS}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("migration", "--tasks", "smell"), 2, ("no task 'smell'", "presence")),
        (("migration", "--tasks", ","), 2, ("no task is named",)),
        (("horizon", "--layers", "two"), 2, ("'two'", "counts of at least 1")),
        (("horizon", "--layers", "0"), 2, ("'0'",)),
        (("calibrate", "--method", "fastest"), 2, ("no method 'fastest'",)),
        (("migration", "--split", "all"), 2, ("'all' is not one of train, val, test",)),
        (("migration", "--output", "found.txt"), 2, ("found.txt", ".json")),
        (("migration", "--output", "no/such/found.json"), 1, ("no/such", "does not exist")),
        (("redundancy", "--figure", "found.doc"), 2, ("found.doc", ".png")),
        (("horizon", "--questions", "none.jsonl"), 1, ("none.jsonl", "does not exist")),
        (("kept", "--size", "8"), 2, ("--size", "64")),
        (("horizon", "--tolerance", "2"), 2, ("'2' is not a number above 0 and below 1",)),
        (("horizon", "--tolerance", "nan"), 2, ("'nan'",)),
        (("calibrate", "--method", "random"), 2, ("'random'", "no stage 2")),
        (("calibrate", "--loss", "3"), 2, ("'3' is not a number of at least 0 and at most 1",)),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(run, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    one_line(run("analyze", *arguments), code, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("horizon", "--layers", "9"), ("outside 1 to 3", "4 layers")),
        (("calibrate", "--limit", "3"), ("at least four pictures", "not 3")),
    ],
)
def test_what_the_model_cannot_do_is_one_sentence(run, checkpoint, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    one_line(run("analyze", arguments[0], "-m", checkpoint, *SMALL, *arguments[1:]), 1, *words)
    assert not list(tmp_path.iterdir())


def test_a_question_without_an_answer_cannot_have_a_horizon(run, checkpoint, own, tmp_path):
    own.write_text(json.dumps({"image": "0.png", "question": "What color is it?"}))
    output = tmp_path / "h.json"
    result = run("analyze", "horizon", "-m", checkpoint, "--device", "cpu", "--questions", own, "--output", output)
    one_line(result, 1, "no true answer")
    assert not output.exists()


def test_work_of_another_run_stays(run, checkpoint, tmp_path):
    working = tmp_path / "r.partial.jsonl"
    working.write_text('{"instrument": "horizon"}\n')
    result = run("analyze", "redundancy", "-m", checkpoint, *SMALL, "--output", tmp_path / "r.json")
    one_line(result, 1, "r.partial.jsonl", "another run")
    assert working.read_text() == '{"instrument": "horizon"}\n'


def test_a_method_that_some_questions_refuse_is_named(capsys):
    panels = [{"none": {"kept": []}}, {"none": {"refused": "not today"}}, {"none": {"refused": "not today"}}]
    show_kept({"records": [{"panels": one} for one in panels], "overlap": {}})
    assert "none, 2 of 3 questions: not today" in capsys.readouterr().out
    show_kept({"records": [{"panels": one} for one in panels[1:]], "overlap": {}})
    assert "none: not today" in capsys.readouterr().out
