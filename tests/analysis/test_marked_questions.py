"""Lines of one's own questions whose answers could not be told apart are refused where answers are marked."""

import json

import pytest
from PIL import Image

import todre
from todre.analysis import calibrate, migration
from todre.analysis.drop_records import Goal
from todre.analysis.guard_fit import GuardGoal, calibrate_guard
from todre.analysis.questions import Source, check_marked
from todre.analysis.results import Job
from todre.errors import InvalidValueError

LINE = {"image": "0.png", "question": "What is there?", "answer": "A dog in a red car.", "task": "caption"}


@pytest.fixture
def asked(tmp_path):
    """asked(*lines) → a source of these lines, each about a picture of its own."""

    def write(*lines):
        for number in range(max(len(lines), 4)):
            Image.new("RGB", (96, 96), (50 * number, 90, 20)).save(tmp_path / f"{number}.png")
        file = tmp_path / "mine.jsonl"
        file.write_text("\n".join(json.dumps({**line, "image": f"{at}.png"}) for at, line in enumerate(lines)))
        return Source(file)

    return write


@pytest.mark.parametrize("task", ["caption", "sentence"])
def test_a_caption_that_names_no_pair_is_refused(asked, task):
    with pytest.raises(InvalidValueError) as refused:
        check_marked(asked({**LINE, "answer": "A red circle."}, {**LINE, "task": task}).questions())
    said = str(refused.value)
    assert said.startswith("Line 2 of ")
    assert f"has the task '{task}' and the answer 'A dog in a red car.', which names no colour with a shape" in said
    assert 'add "metric": "exact", or give an answer such as "red circle".' in said


@pytest.mark.parametrize(
    "changes", [{"metric": "exact"}, {"answer": "A blue star."}, {"task": "colour"}, {"answer": ["a dog", "a car"]}]
)
def test_what_can_be_marked_is_not_refused(asked, changes):
    (question,) = asked({**LINE, **changes}).questions()
    check_marked([question])
    assert question.mark("Something else.") == 0.0


def test_a_line_without_an_answer_cannot_be_marked(asked):
    with pytest.raises(InvalidValueError, match=r"Line 1 of .* has no answers; write"):
        check_marked(asked({**LINE, "answer": ""}).questions())


def test_scenes_can_be_marked(source):
    check_marked(source.questions())


def test_instruments_that_mark_refuse_and_others_do_not(loaded, asked, tmp_path):
    source = asked(LINE, LINE, LINE, LINE)

    def job(name):
        return Job(name, {}, loaded, source, tmp_path / "found.json", 4)

    goal = Goal.checked(loaded.model, todre.ToDRE(), 0.1, [2], max_new_tokens=1)
    with pytest.raises(InvalidValueError, match="names no colour with a shape"):
        calibrate.calibrate(job("calibrate"), goal)
    with pytest.raises(InvalidValueError, match="names no colour with a shape"):
        calibrate_guard(job("guard"), GuardGoal(todre.ToDRE(), max_new_tokens=1))
    assert not job("guard").working.exists()
    assert len(migration.migration(job("migration"), 1)["records"]) == 4
