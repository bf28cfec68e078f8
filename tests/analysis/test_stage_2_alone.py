"""A calibration of a method without stage 1, and of one whose other settings no choice is measured with."""

import dataclasses

import pytest

import todre
from todre.analysis import calibrate
from todre.analysis.drop_records import Goal, answers_of
from todre.analysis.questions import Source
from todre.analysis.results import Job
from todre.cli.analyze_tables import show_calibration
from todre.methods import registry

ALONE = registry.create("todre-stage-2", threshold=0.5)
BOTH = todre.ToDRE(retain=0.2)


def goal_of(loaded, method, loss=0.99):
    return Goal.checked(loaded.model, method, loss, [2], max_new_tokens=2)


@pytest.fixture
def source():
    return Source(limit=8, split="val", size=96, tasks=("presence", "count"))


def test_the_picture_is_whole_until_stage_2_drops_it(loaded, source, monkeypatch):
    goal, pruned = goal_of(loaded, ALONE), []
    plain = todre.pruning.prune

    def watched(model, method, **more):
        pruned.append(method)
        return plain(model, method, **more)

    monkeypatch.setattr("todre.analysis.drop_records.prune", watched)
    records = answers_of(loaded, source.questions()[:2], goal)
    none, kept, dropping = pruned
    assert (kept.stages, kept.retain) == ((1,), 1.0)
    assert (dropping.stages, dropping.layers) == ((2,), (2,))
    assert [record["none"] for record in records] == [record["kept"] for record in records]
    assert {record["drop"]["2"]["left"] for record in records} == {0.0}
    assert none.name == "none"


def test_the_method_that_is_written_has_no_stage_1(loaded, source, tmp_path):
    goal = goal_of(loaded, ALONE)
    job = Job("calibrate", goal.parameters(), loaded, source, tmp_path / "c.json", 4)
    found = calibrate.calibrate(job, goal)
    assert found["method"]["stages"] == found["horizon"]["method"]["stages"] == [2]
    assert found["conditions"]["parameters"]["method"]["stages"] == [2]
    assert "stages" not in goal_of(loaded, BOTH).parameters()["method"]
    assert "unmeasured" not in found
    off = [dict(record, kept=1.0, drop={"2": dict(record["drop"]["2"], score=0.0)}) for record in found["records"]]
    nothing = calibrate.document(off, dataclasses.replace(goal, loss=0.0), 4)
    for method in (nothing["method"], nothing["horizon"]["method"]):
        assert (method["stages"], method["retain"]) == ([1], 1.0)


def test_what_a_choice_was_measured_without_is_said(loaded, source, tmp_path, capsys):
    method = dataclasses.replace(BOTH, horizon=3, ahead="layers")
    goal = goal_of(loaded, method)
    job = Job("calibrate", goal.parameters(), loaded, source, tmp_path / "c.json", 4)
    found = calibrate.calibrate(job, goal)
    assert found["unmeasured"] == {"ahead": "layers", "horizon": 3}
    assert (found["method"]["horizon"], found["method"]["ahead"]) == (None, "no")
    assert found["horizon"]["method"]["ahead"] == "layers"
    sentence = "It was measured, and is written, without ahead=layers and horizon=3 of the given method."
    show_calibration(found)
    assert sentence in " ".join(capsys.readouterr().out.split())
    show_calibration(found, "horizon")
    assert "It was measured" not in capsys.readouterr().out
    show_calibration({name: value for name, value in found.items() if name != "unmeasured"})
    assert "It was measured" not in capsys.readouterr().out
