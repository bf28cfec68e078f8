"""Several processes: the same rows as one, whatever becomes of a process."""

import time

import pytest
from batch.stubs import Stub, answer, broken_model, no_model, rows, write_rows

from todre.batch.processes import MOST_DEATHS, in_processes, threads_each
from todre.batch.sources import JsonLines
from todre.errors import LoadError, TodreError


def records(tmp_path, values):
    return JsonLines(write_rows(tmp_path / "rows.jsonl", values)).records()


def by_id(outcomes):
    return sorted(outcomes, key=lambda outcome: outcome.id)


def test_each_row_is_answered_once_by_one_of_them(tmp_path):
    values, log = rows(20), tmp_path / "log"
    found = by_id(in_processes(Stub(seconds=0.05, log=str(log)), 2)(records(tmp_path, values)))
    assert found == by_id(map(answer, records(tmp_path, values)))
    begun = [line.rpartition(" ") for line in log.read_text().splitlines()]
    assert len(begun) == 20
    assert len({process for _, _, process in begun}) == 2


def test_few_rows_are_read_ahead(tmp_path):
    read = []

    def watched():
        for record in records(tmp_path, rows(12)):
            read.append(record.id)
            yield record

    for done, _ in enumerate(in_processes(Stub(), 2)(watched()), start=1):
        assert len(read) <= done + 2


def test_more_processes_than_rows(tmp_path):
    assert len(list(in_processes(Stub(), 4)(records(tmp_path, rows(2))))) == 2
    assert list(in_processes(Stub(), 2)(iter(()))) == []


def test_a_process_that_dies_costs_its_row_alone(tmp_path):
    values = rows(8)
    values[2]["question"] = values[5]["question"] = "die"
    found = by_id(in_processes(Stub(), 2)(records(tmp_path, values)))
    failed = [outcome for outcome in found if outcome.failure]
    assert [outcome.id for outcome in failed] == ["row 2", "row 5"]
    assert {outcome.failure.type for outcome in failed} == {"ProcessDied"}
    assert "ended from outside" in failed[0].failure.message
    assert len(found) == 8


def test_processes_that_die_one_after_another_end_the_run(tmp_path):
    values = [{**row, "question": "die"} for row in rows(8)]
    outcomes = in_processes(Stub(), 1)(records(tmp_path, values))
    found = []
    with pytest.raises(TodreError, match="one after another"):
        found.extend(outcomes)
    assert len(found) == 0 or len(found) < MOST_DEATHS


def test_what_cannot_start_ends_the_run(tmp_path):
    with pytest.raises(LoadError, match="no such model"):
        list(in_processes(no_model, 2)(records(tmp_path, rows(4))))


def test_what_cannot_start_for_any_reason_ends_the_run_in_a_sentence(tmp_path, capfd):
    with pytest.raises(TodreError, match=r"cannot be started \(RuntimeError: the kernel is missing\)"):
        list(in_processes(broken_model, 2)(records(tmp_path, rows(4))))
    assert "Traceback" not in capfd.readouterr().err


def test_processes_end_with_the_generator(tmp_path):
    log = tmp_path / "log"
    outcomes = in_processes(Stub(seconds=0.05, log=str(log)), 2)(records(tmp_path, rows(200)))
    next(outcomes)
    outcomes.close()
    begun = len(log.read_text().splitlines())
    time.sleep(0.3)
    assert len(log.read_text().splitlines()) == begun < 200


def test_cores_are_shared():
    assert threads_each(1) >= threads_each(2) >= 1
    assert threads_each(1000) == 1
