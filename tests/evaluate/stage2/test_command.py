"""The command from end to end on a small random model: what it writes, how it goes on, what it refuses."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from todre.errors import InvalidValueError
from todre.evaluate.stage2.__main__ import main
from todre.evaluate.stage2.plan import Plan, deep_method, named_layers
from todre.evaluate.stage2.summary import as_text
from todre.evaluate.stage2.working import Done, opened

SMALL = ["--tasks", "scenes-colour,scenes-presence", "--questions", "8", "--size", "96", "--group-size", "2"]
STUDY = [
    *SMALL, "--retain", "0.2", "--threshold", "0.3", "0.8", "--hide", "none", "--skip", "2", "--delete", "every:2",
    "--method", "todre-stage-2:threshold=0.8", "--deep-layers", "2", "--deep-groups", "1", "--rankings",
    "random-deep,fastv", "--draws", "2",
]  # fmt: skip


@pytest.fixture
def run(checkpoint, tmp_path, capsys):
    output = tmp_path / "found.json"

    def call(*more):
        code = main(["-m", str(checkpoint), *STUDY, "--output", str(output), *more])
        return code, json.loads(output.read_text()) if code == 0 else " ".join(capsys.readouterr().err.split())

    return call


def test_a_study_is_whole_and_goes_on(run, tmp_path):
    code, document = run()
    assert code == 0
    assert document["questions"] == 8
    assert document["tasks"] == {"scenes-colour": 4, "scenes-presence": 4}
    curves = document["curves"]
    assert [each["layer"] for each in curves["drop"]] == [1, 2, 3]
    assert [each["layer"] for each in curves["delete"]] == [2]
    assert [each["layer"] for each in curves["skip"]] == [2]
    assert curves["hide"] == []
    whole = document["whole"]["value"]
    for each in curves["drop"]:
        assert each["against_whole"]["value"] == pytest.approx(each["score"]["value"] - whole, abs=1e-5)
        tasks = [values["value"] for values in each["score"]["tasks"].values()]
        assert np.mean(tasks) == pytest.approx(each["score"]["value"], abs=1e-5)
    assert [each["part"] for each in document["ratios"]] == ["whole", "todre-v1/1@0.2", "todre/1@0.2"]
    for row in document["ratios"][0]["layers"]:
        assert 0 <= row["text"]["least"] <= row["text"]["value"] <= row["text"]["most"] <= 1
        assert row["text"]["below"]["0.3"] <= row["text"]["below"]["0.8"]
    assert len(document["stage2"]) == 3 * 2 * 2 * 3
    alone = next(
        row for row in document["stage2"] if (row["version"], row["retain"], row["threshold"]) == ("todre", None, 0.8)
    )
    assert alone["rule"] == "printed"
    (method,) = document["methods"]
    assert method["dropped"]["value"] == alone["fired"]["value"] > 0
    assert method["by_layer"] == alone["by_layer"]
    assert method["score"]["value"] == alone["score"]["value"]
    assert method["layer_mean"] == pytest.approx(alone["layer_mean"], abs=1e-2)
    assert set(method["against"]) == {"todre stage 2", "todre@0.2", "todre-v1 stage 2", "todre-v1@0.2"}
    at_its_threshold = method["against_at_its_threshold"]
    assert set(at_its_threshold) == set(method["against"])
    assert at_its_threshold["todre stage 2"]["low"] == at_its_threshold["todre stage 2"]["high"] == 0
    early = next(
        row
        for row in document["stage2"]
        if (row["rule"], row["version"], row["retain"], row["threshold"]) == ("printed", "todre-v1", 0.2, 0.8)
    )
    gain = method["score"]["value"] - early["score"]["value"]
    assert at_its_threshold["todre-v1@0.2"]["value"] == pytest.approx(gain, abs=1e-5)
    assert [(row["ranking"], "against_random" in row) for row in document["deep"]] == [
        ("random-deep", False),
        ("fastv", True),
    ]
    assert document["deep"][0]["score"]["n"] < 8
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.size[0] > 800

    lines = (tmp_path / "found.partial.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "found.partial.jsonl").write_bytes(b"".join(lines[:-2]) + lines[-2][:40])
    code, again = run("--force")
    assert code == 0
    assert len((tmp_path / "found.partial.jsonl").read_bytes().splitlines()) == len(lines)
    for timed in ("core_seconds", "wall_seconds_of_the_last_call", "command"):
        again.pop(timed)
        document.pop(timed)
    assert again == document


def test_what_cannot_be_used_is_one_sentence(run, tmp_path, checkpoint):
    assert "skip at layer 9 is outside 1 to 4" in run("--skip", "9")[1]
    assert "names no layers" in run("--drop", "some")[1]
    assert "no layer after which it keeps" in run("--rankings", "divprune")[1]
    assert "measured twice" in run("--method", "vtw", "--method", "vtw")[1]
    assert "no method 'todrr'" in run("--method", "todrr")[1]
    assert not (tmp_path / "found.json").exists()
    (tmp_path / "found.json").write_text("mine")
    assert "is there already" in run()[1]
    assert (tmp_path / "found.json").read_text() == "mine"


def test_a_working_file_of_another_run_is_refused(tmp_path):
    file = tmp_path / "work.jsonl"
    with opened(file, {"seed": 0}) as journal:
        journal.add(Done(0, "whole", "abc", 1.0, [{"said": {}}]))
    with opened(file, {"seed": 0}) as journal:
        assert list(journal.done) == [(0, "whole", "abc")]
    with pytest.raises(InvalidValueError, match="another seed"), opened(file, {"seed": 1}):
        pass
    file.write_text('{"group": 0}\n')
    with pytest.raises(InvalidValueError, match="no working file"), opened(file, {"seed": 1}):
        pass


def test_a_working_file_is_locked_and_a_kill_costs_no_more_than_its_last_line(tmp_path):
    file = tmp_path / "work.jsonl"
    first, second = Done(0, "part", "digest", 1.0, [{}]), Done(1, "part", "digest", 1.0, [{}])
    with opened(file, {"seed": 0}) as journal:
        journal.add(first)
        with pytest.raises(InvalidValueError, match="is being written by another run"), opened(file, {"seed": 0}):
            pass
        journal.add(second)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with opened(file, {"seed": 0}) as journal:
        assert list(journal.done.values()) == [first]
        journal.add(second)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("text", ["notes", "{}", '{"format": "other"}'])
def test_a_file_that_is_no_working_file_stays_as_it_is(tmp_path, text):
    file = tmp_path / "work.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidValueError, match="is no working file of this command"), opened(file, {"seed": 0}):
        pass
    assert file.read_text() == text


def test_a_header_that_a_kill_cut_off_is_written_anew(tmp_path):
    file = tmp_path / "work.jsonl"
    with opened(file, {"seed": 0}):
        whole = file.read_bytes()
    file.write_bytes(whole[:7])
    with opened(file, {"seed": 0}):
        pass
    assert file.read_bytes() == whole


def test_text_of_a_document_is_its_json():
    document = {"a": [{"b": list(range(400))}, {"c": "é"}], "d": {"e": {str(n): n / 7 for n in range(200)}}, "f": None}
    text = as_text(document)
    assert json.loads(text) == document
    assert "é" in text
    assert text.count("\n") > 500
    assert as_text([1, {"a": 2}]) == '[1, {"a": 2}]'


def test_layers_by_name():
    assert named_layers("all", 5) == (1, 2, 3, 4)
    assert named_layers("all", 5, last=True) == (1, 2, 3, 4, 5)
    assert named_layers("every:2", 7) == (2, 4, 6)
    assert named_layers("9,3,3", 5) == (3, 9)
    assert named_layers("none", 5) == ()
    with pytest.raises(InvalidValueError, match="names no layers"):
        named_layers("every:0", 5)


def test_versions_ask_where_they_are_printed_to():
    plan = Plan(depth=32)
    assert plan.candidates("todre-v1") == (16, 20, 24, 28)
    assert plan.candidates("todre") == (28,)
    assert {each.layer for each in plan.parts()[0].changes} == {16, 20, 24, 28}
    assert math.isclose(plan.versions["todre-v1"].threshold, 0.03)


def test_a_ranking_acts_after_one_layer():
    assert [method.layers for method in deep_method("pyramiddrop", 5, 0.2, 3)] == [(5,)]
    assert [(method.layer, method.seed) for method in deep_method("random-deep", 5, 0.2, 2)] == [(5, 0), (5, 1)]
