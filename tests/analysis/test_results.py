"""A run that was stopped goes on and ends the same; files appear whole; questions come from scenes or a file."""

import dataclasses
import json

import pytest
from PIL import Image

from todre.analysis import results
from todre.analysis.questions import Source
from todre.analysis.results import Job, as_text, finish, measure_all
from todre.errors import ImageError, InvalidValueError

PLAYED = 7


class Played:
    """An instrument whose numbers follow from what is asked, and that remembers what it was asked."""

    def __init__(self, stop_after=None):
        self.asked, self.stop_after = [], stop_after

    def __call__(self, asked):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += [one.question.text for one in asked]
        return [{"length": len(one.question.text)} for one in asked]


@pytest.fixture
def job(loaded, source, tmp_path):
    return Job("played", {"depth": 3}, loaded, dataclasses.replace(source, limit=PLAYED), tmp_path / "p.json", 2)


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(job, tmp_path):
    whole = measure_all(dataclasses.replace(job, output=tmp_path / "whole.json"), Played())
    first, second = Played(stop_after=4), Played()
    with pytest.raises(KeyboardInterrupt):
        measure_all(job, first)
    with job.working.open("a") as stream:
        stream.write('{"place": 4, "seconds": 0.1, "rec')
    ticks = []
    found = measure_all(dataclasses.replace(job, tick=lambda *at: ticks.append(at)), second)
    assert found.records == whole.records
    assert first.asked + second.asked == [record["question"] for record in whole.records]
    assert ticks[0] == (4, 7)
    assert ticks[-1] == (7, 7)
    third = Played()
    assert measure_all(job, third).records == whole.records
    assert third.asked == []


@pytest.mark.parametrize(
    ("change", "part"),
    [({"parameters": {"depth": 4}}, "parameters"), ({"instrument": "other"}, "instrument")],
)
def test_work_of_another_run_is_not_mixed_in(job, change, part):
    with pytest.raises(KeyboardInterrupt):
        measure_all(job, Played(stop_after=2))
    before = job.working.read_bytes()
    with pytest.raises(InvalidValueError, match=f"another {part}"):
        measure_all(dataclasses.replace(job, **change), Played())
    other = dataclasses.replace(job, source=dataclasses.replace(job.source, limit=3))
    with pytest.raises(InvalidValueError, match="another source"):
        measure_all(other, Played())
    assert job.working.read_bytes() == before


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ({"python": "3.12.1", "torch": "2.1"}, "with torch 2.1, and not 2.2"),
        ({"python": "3.12.1", "torch": "2.2", "pillow": "9"}, "with pillow 9, and not None"),
        (None, "by an earlier version of todre"),
    ],
)
def test_work_of_other_versions_is_not_mixed_in(job, monkeypatch, then, words):
    now = {"python": "3.12.1", "torch": "2.2"}
    monkeypatch.setattr(results, "versions", lambda: now)
    assert (
        measure_all(dataclasses.replace(job, output=job.output.with_name("w.json")), Played()).conditions["versions"]
        == now
    )
    with pytest.raises(KeyboardInterrupt):
        measure_all(job, Played(stop_after=2))
    head, *rest = job.working.read_text().splitlines()
    written = {**json.loads(head), "versions": then}
    if then is None:
        del written["versions"]
    job.working.write_text("\n".join([json.dumps(written), *rest]) + "\n")
    with pytest.raises(InvalidValueError, match=rf"p\.partial\.jsonl holds unfinished work of another run \({words}\)"):
        measure_all(job, Played())


def test_finishing_writes_both_files_and_drops_the_working_file(job):
    measured = measure_all(job, Played())
    document = {"records": measured.records, "conditions": measured.conditions}
    with pytest.raises(ZeroDivisionError):
        finish(job, document, lambda found, path: 1 / 0)
    assert not job.output.exists()
    assert job.working.exists()
    finish(job, document, lambda found, path: path.write_text(found["records"][0]["task"]))
    assert json.loads(job.output.read_text())["records"][0]["length"] > 0
    assert job.drawn == job.output.with_suffix(".png")
    assert job.drawn.read_text() == "presence"
    assert not job.working.exists()


def test_each_record_is_a_line_of_the_document():
    document = {"what": "a }\n thing", "records": [{"a": [1, 2]}, {"b": None}], "layers": [{"c": 1.5}]}
    text = as_text(document)
    assert json.loads(text) == document
    assert '\n  {"a": [1, 2]},\n  {"b": null}\n' in text


def test_conditions_say_what_was_measured(job):
    conditions = measure_all(job, Played()).conditions
    assert len(conditions["model"]["sha256"]) == 64
    assert conditions["parameters"] == {"depth": 3}
    asked = {"split": "val", "picture_size": 96, "questions": 7, "pictures": 7}
    assert asked.items() <= conditions["questions"].items()
    assert {"torch", "transformers", "todre"} <= set(conditions["versions"])


def test_scenes_take_tasks_in_turn():
    asked = Source(limit=5, split="val", size=96, tasks=("colour", "digit")).questions()
    assert [one.question.task for one in asked] == ["colour", "digit", "colour", "digit", "colour"]
    assert len({one.picture for one in asked}) == 5
    assert asked[0].open().size == (96, 96)


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (40, 30), (10, 20, 30)).save(tmp_path / "a.png")
    return tmp_path


def written(folder, *lines):
    file = folder / "questions.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def test_own_questions(folder):
    file = written(
        folder, {"image": "a.png", "question": "Why?", "answer": "so"}, "", {"image": "a.png", "question": "?"}
    )
    first, second = Source(file=file).questions()
    assert first.question.answer == "so"
    assert (second.question.task, second.question.answer) == ("question", "")
    assert first.picture == second.picture == "a.png"
    assert first.open().size == (40, 30)
    assert len(Source(file=file, limit=1).questions()) == 1
    facts = Source(file=file).facts([first, second])
    assert (facts["file"], facts["questions"], facts["pictures"]) == ("questions.jsonl", 2, 1)


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (["{"], InvalidValueError, "Line 1 .* no JSON object"),
        ([{"image": "a.png", "question": "Why?"}, [1]], InvalidValueError, "Line 2"),
        ([{"image": "a.png", "question": 3}], InvalidValueError, "has question 3, and needs a text there"),
        ([{"image": "a.png"}], InvalidValueError, "has no question"),
        ([{"question": "Why?"}], InvalidValueError, "has no image"),
        ([{"image": "b.png", "question": "Why?"}], ImageError, "b.png does not exist"),
        ([" ", ""], InvalidValueError, "holds no question"),
    ],
)
def test_lines_that_are_no_question(folder, lines, error, message):
    with pytest.raises(error, match=message):
        Source(file=written(folder, *lines)).questions()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 0}, "limit must be"),
        ({"split": "all"}, "split must be one of .*, not 'all'"),
        ({"tasks": ("colour", "smell")}, r"tasks\[1\] must be one of .*, not 'smell'"),
        ({"tasks": ()}, "tasks must be a list of at least one"),
    ],
)
def test_refused_sources(values, message):
    with pytest.raises(InvalidValueError, match=message):
        Source(**values)


def test_a_batch_of_none_is_refused(job):
    with pytest.raises(InvalidValueError, match="batch_size"):
        dataclasses.replace(job, batch_size=0)
