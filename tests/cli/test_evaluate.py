"""`todre eval` from end to end, and what it says of wrong input."""

import json
import re

import pytest
from lively import lively
from PIL import Image

from todre.cli import main
from todre.tiny.export import export

QUICK = ("--limit", "2", "--size", "96", "--device", "cpu", "--tasks")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export(*lively(), folder)
    return str(folder)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as exit_code:
            main(["eval", *arguments])
        captured = capsys.readouterr()
        return exit_code.value.code, captured.out, captured.err

    return call


def test_a_run_writes_its_folder_and_a_table(run, checkpoint, tmp_path):
    output = tmp_path / "run"
    arguments = ("scenes-colour,scenes-pope", "--methods", "todre,random", "--retain", "0.2,20", "--draws", "2")
    code, out, err = run(*QUICK, *arguments, "-m", checkpoint, "--output", str(output))
    assert (code, err) == (0, f"wrote {output}/result.json, samples.jsonl, items.jsonl and timings.json\n")
    assert re.search(
        r"todre +20 % +\d+ +\d+ +[\d.]+ \[[\d.]+, [\d.]+\] +[+-][\d.]+ \[.*\] +[\d.]+ \[.*\] +[\d.]+ ", out
    )
    assert re.search(r"random \(2 draws\) +20 +20 +20 ", out)
    assert "…" not in out
    result = json.loads((output / "result.json").read_text())
    assert [(row["name"], row["retain"]) for row in result["rows"]] == [
        ("none", None), ("todre", 0.2), ("todre", 20), ("random", 0.2), ("random", 20),
    ]  # fmt: skip
    assert result["tasks"]["scenes-pope"] == {"metric": "pope", "questions": 2}
    timings = json.loads((output / "timings.json").read_text())
    assert timings["answers_of_this_call"] == 7 * 4
    assert set(timings["questions_per_processor_second"]) >= {"none", "todre@0.2", "random@20#1"}
    before = (output / "result.json").read_bytes()
    code, out, err = run(*QUICK, *arguments, "-m", checkpoint, "--output", str(output), "--json", "-q")
    assert (code, err) == (0, "")
    assert json.loads(out) == result
    assert (output / "result.json").read_bytes() == before
    assert json.loads((output / "timings.json").read_text())["answers_of_this_call"] == 0


def test_methods_of_earlier_calls_that_the_result_leaves_out_are_named(run, checkpoint, tmp_path):
    output = tmp_path / "run"
    common = (*QUICK, "scenes-colour", "-m", checkpoint, "--draws", "1", "--output", str(output), "--methods")
    run(*common, "todre,uniform", "--retain", "0.2,0.1")
    code, _, err = run(*common, "divprune", "--retain", "0.2")
    assert code == 0
    assert (
        f"{output} also keeps answers of todre@0.1, todre@0.2, uniform@0.1, uniform@0.2; "
        "to have them in result.json, name their methods and budgets too\n" in err
    )
    code, _, err = run(*common, "divprune,todre,uniform", "--retain", "0.2,0.1")
    assert (code, "also keeps" in err) == (0, False)


def test_questions_of_ones_own_about_one_picture_have_no_intervals(run, checkpoint, tmp_path):
    Image.new("RGB", (96, 96), "red").save(tmp_path / "a.png")
    line = {"image": "a.png", "question": "What color is the circle?", "answers": ["red"] * 10, "metric": "vqa"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(line))
    code, out, _ = run(
        "--tasks", str(tmp_path / "mine.jsonl"), "-m", checkpoint, "--methods", "todre", "--retain", "0.2", "-q",
        "--output", str(tmp_path / "run"),
    )  # fmt: skip
    assert code == 0
    assert "[" not in out
    assert json.loads((tmp_path / "run/items.jsonl").read_text())["references"] == ["red"] * 10


def test_pages_and_wordings_run_and_say_how_scores_differ_by_what_is_new(run, checkpoint, tmp_path):
    output = tmp_path / "run"
    code, _, _ = run(
        "--tasks", "pages-reading,wordings-digit", "-m", checkpoint, "--methods", "uniform", "--retain", "0.2", "-q",
        "--device", "cpu", "--limit", "6", "--output", str(output),
    )  # fmt: skip
    assert code == 0
    result = json.loads((output / "result.json").read_text())
    items = [json.loads(line) for line in (output / "items.jsonl").read_text().splitlines()]
    kinds = [item["kind"] for item in items if item["task"] == "pages-reading"]
    for row in result["rows"]:
        details = row["tasks"]["pages-reading"]["details"]
        assert {kind: each["questions"] for kind, each in details.items()} == {
            kind: kinds.count(kind) for kind in kinds
        }
        assert "details" not in row["tasks"]["wordings-digit"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--tasks", "scenes-color"), 2, "did you mean 'scenes-colour'?"),
        (("--tasks", "pages-adding"), 2, "did you mean 'pages-reading'?"),
        (("--tasks", "wordings-color"), 2, "did you mean 'wordings-colour'?"),
        (("--tasks", "pages"), 1, "Pages are 192 by 192 pixels, not 96 by 96; leave the size out."),
        (("--tasks", "gone.jsonl"), 1, "gone.jsonl does not exist"),
        (("--tasks", ","), 2, "nothing is named"),
        (("--methods", "todr"), 2, "did you mean 'todre' or 'todre-v1'?"),
        (("--methods", "fitprune"), 1, "has not been fitted"),
        (("--retain", "0.1,2.5"), 2, "2.5"),
        (("--retain", "0.1,0.1"), 2, "names 0.1 twice"),
        (("--limit", "0"), 2, "--limit"),
        (("--output", "no/such/run"), 1, "does not exist; create it first"),
        (("-m", "nowhere"), 1, "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(run, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    size = () if "gone.jsonl" in arguments else ("--size", "96")
    result = run("--limit", "1", *size, *arguments)
    assert result[0] == code
    assert words in result[2]
    assert result[2].count("\n") == 1
    assert result[1] == ""
    assert not list(tmp_path.glob("*/result.json"))


def test_a_method_that_refuses_ends_the_run_unless_it_may_be_left_out(run, checkpoint, tmp_path):
    arguments = ("scenes-colour", "--methods", "evs,todre", "--retain", "0.2", "-m", checkpoint, "--output")
    code, out, err = run(*QUICK, *arguments, str(tmp_path / "a"))
    assert (code, out) == (1, "")
    assert "evs@0.2 cannot be evaluated: EVS compares" in err
    code, out, _ = run(*QUICK, *arguments, str(tmp_path / "a"), "--leave-out")
    assert code == 0
    assert "evs@0.2 is left out: EVS compares" in out
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["none", "todre"]
    assert list(result["left_out"]) == ["evs@0.2"]
