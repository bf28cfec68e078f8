"""Runs resume after a kill with the same result, in one process or several."""

import dataclasses
import json

import pytest

import todre
import todre.errors
from todre.evaluate import runner
from todre.evaluate.conditions import NONE, Condition, comparison
from todre.evaluate.session import Record, Settings

SETTINGS = Settings(split="val", group_size=2)
CONDITIONS = comparison([0.1], [0, 1])


class Played:
    """A session whose answers follow from what is asked, and that remembers what it was asked."""

    def __init__(self, stop_after=None):
        self.asked = []
        self.stop_after = stop_after

    def answer_group(self, group, condition):
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append((group, condition.name))
        pictures = range(2 * group, 2 * group + 2)
        return [Record(p, "digit", "What digit is shown?", "3", condition.name, p % 2, 5) for p in pictures], 0.25


def silent(lines, total):
    yield from lines


def answered(work, session, pictures=6, conditions=CONDITIONS):
    return runner.run(SETTINGS, conditions, pictures, work, session=session, ticker=silent)


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(tmp_path):
    whole = answered(tmp_path / "whole", Played())
    first, second = Played(stop_after=10), Played()
    with pytest.raises(KeyboardInterrupt):
        answered(tmp_path / "cut", first)
    (file,) = (tmp_path / "cut").glob("*.jsonl")
    with file.open("a") as stream:
        stream.write('{"condition": "half a li')
    assert answered(tmp_path / "cut", second) == whole
    assert not set(first.asked) & set(second.asked)
    assert len(first.asked) + len(second.asked) == 3 * len(CONDITIONS)
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_finished_run_asks_nothing_and_a_larger_one_only_what_is_new(tmp_path):
    whole = answered(tmp_path, Played())
    again, larger = Played(), Played()
    assert answered(tmp_path, again) == whole
    assert again.asked == []
    more = answered(tmp_path, larger, pictures=8)
    assert {group for group, _ in larger.asked} == {3}
    assert all(more.by_condition[name][:6] == records for name, records in whole.by_condition.items())
    assert more.core_seconds == pytest.approx(0.25 * 4 * len(CONDITIONS))


def test_a_condition_with_other_fields_is_not_taken_for_the_same(tmp_path):
    answered(tmp_path, Played(), conditions=[Condition("todre@0.1", todre.ToDRE(retain=0.1))])
    other = Played()
    answered(tmp_path, other, conditions=[Condition("todre@0.1", todre.ToDRE(retain=0.1, threshold=0.2))])
    assert len(other.asked) == 3


def test_answers_come_in_the_order_of_pictures(tmp_path):
    answers = answered(tmp_path, Played())
    assert list(answers.by_condition) == [condition.name for condition in CONDITIONS]
    for name, records in answers.by_condition.items():
        assert [record["picture"] for record in records] == list(range(6))
        assert {record["prediction"] for record in records} == {name}


def test_the_working_file_is_another_for_another_model_or_setting(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    model = dataclasses.replace(SETTINGS, model=str(tmp_path))
    first = runner.fingerprint(model)
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    second = runner.fingerprint(model)
    third = runner.fingerprint(dataclasses.replace(model, split="test"))
    assert len({first, second, third}) == 3
    assert runner.fingerprint(dataclasses.replace(model, batch_size=3)) == second


@pytest.mark.parametrize(
    ("pictures", "processes", "conditions", "message"),
    [(5, 1, [NONE], "whole groups of 2"), (4, 0, [NONE], "at least 1"), (4, 1, [NONE, NONE], "same name")],
)
def test_refusals(tmp_path, pictures, processes, conditions, message):
    with pytest.raises(todre.errors.InvalidValueError, match=message):
        runner.run(SETTINGS, conditions, pictures, tmp_path, processes=processes, session=Played())


def test_progress_goes_to_stderr(capsys):
    assert list(runner.progress_bar(iter("abc"), 3)) == list("abc")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err


def test_two_processes_give_what_one_gives(tmp_path, checkpoint, monkeypatch):
    monkeypatch.undo()  # worker processes answer captions in full
    settings = Settings(model=str(checkpoint), split="val", size=96, group_size=1)
    two = runner.run(settings, [CONDITIONS[1]], 2, tmp_path / "two", processes=2, ticker=silent)
    one = runner.run(settings, [CONDITIONS[1]], 2, tmp_path / "one", ticker=silent)
    assert two.by_condition == one.by_condition
