"""A run into a file: every row once, in its shape, whatever ended the runs before it."""

import dataclasses
import errno
import itertools
import json
import os
import tracemalloc

import pytest
from batch.stubs import Stub, answer, picture, read_rows, reply, request, rows, write_rows

from todre.batch.records import Outcome
from todre.batch.run import inline, run
from todre.batch.settings import other_versions, settings_file
from todre.batch.sources import JsonLines
from todre.environment import versions
from todre.errors import InvalidValueError, OutputError, TodreError

CONDITIONS = {"model": "stub", "max_new_tokens": 64}


@pytest.fixture
def source(tmp_path):
    return JsonLines(write_rows(tmp_path / "rows.jsonl", rows(12)))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.jsonl"


def answered(source, output, count=None, conditions=CONDITIONS, **options):
    """Run with the stub; with `count`, the run breaks off after so many rows."""

    def backend(records):
        yield from map(answer, itertools.islice(records, count))
        if count is not None:
            raise KeyboardInterrupt

    return run(source, output, conditions, backend, **options)


def broken_off(source, output, count, **options):
    with pytest.raises(KeyboardInterrupt):
        answered(source, output, count, **options)


def refused(words, source, output, error=InvalidValueError, **options):
    before = output.read_bytes() if output.is_file() else None
    with pytest.raises(error) as caught:
        answered(source, output, **options)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
    assert (output.read_bytes() if output.is_file() else None) == before


def test_plain_rows(source, output):
    summary = answered(source, output)
    found = read_rows(output)
    assert [each["id"] for each in found] == [f"row {n}" for n in range(12)]
    assert found[3].pop("fingerprint")
    assert found[3] == {
        "id": "row 3",
        "answer": "answer to What is 3?",
        "ended": "stop",
        "model": "stub",
        "prompt_tokens": 9,
        "new_tokens": 2,
        "visual_tokens": {"before": 100, "after": 10},
    }
    assert summary.to_dict() == {
        "rows": 12, "done_before": 0, "answered": 12, "failed": 0, "visual_tokens": {"before": 1200, "after": 120}
    }  # fmt: skip
    assert json.loads(settings_file(output).read_text())["conditions"] == CONDITIONS


def test_requests_of_openai_and_their_types(tmp_path, output):
    """The `openai` package's own types take what is written."""
    from openai.types.chat import ChatCompletion

    values = [request("a", picture("a.png"), "Why?"), {"id": "b", "image": "b.png", "question": "fail"}]
    answered(JsonLines(write_rows(tmp_path / "rows.jsonl", values)), output)
    first, second = read_rows(output)
    assert set(first) == {"id", "custom_id", "response", "error"}
    assert (first["custom_id"], first["error"], first["response"]["status_code"]) == ("a", None, 200)
    completion = ChatCompletion.model_validate(first["response"]["body"], strict=True)
    assert completion.choices[0].message.content == "answer to "
    assert completion.usage.total_tokens == 11
    assert completion.todre == {"visual_tokens": {"before": 100, "after": 10}}
    assert second["error"] == {"type": "ImageError", "message": "There is no picture."}


def test_a_failed_request_of_openai(tmp_path, output):
    values = {**request("a", "Why?"), "question": "fail"}
    summary = answered(JsonLines(write_rows(tmp_path / "rows.jsonl", [values])), output)
    (line,) = read_rows(output)
    assert line["response"] is None
    assert line["error"] == {"code": "ImageError", "message": "There is no picture."}
    assert (summary.tally.answered, summary.tally.failed) == (0, 1)


def test_what_a_stopped_run_did_is_kept_and_not_done_again(source, output, tmp_path):
    broken_off(source, output, 5)
    assert len(read_rows(output)) == 5
    log = tmp_path / "log"
    summary = run(source, output, CONDITIONS, inline(Stub(log=str(log))))
    assert [line.rpartition(" ")[0] for line in log.read_text().splitlines()] == [f"row {n}" for n in range(5, 12)]
    assert summary.done_before == 5
    whole = tmp_path / "whole.jsonl"
    answered(source, whole)
    assert output.read_bytes() == whole.read_bytes()


def test_nothing_is_started_where_nothing_is_left(source, output):
    answered(source, output)
    before = output.read_bytes()

    def never(records):
        raise AssertionError

    assert run(source, output, CONDITIONS, never).done_before == 12
    assert output.read_bytes() == before


def test_a_line_that_was_cut_anywhere_is_cut_off(source, output, tmp_path):
    answered(source, output)
    whole = output.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in (last, last + 1, last + 8, last + 30, len(whole) - 1):
        output.write_bytes(whole[:end])
        assert answered(source, output).done_before == 11
        assert output.read_bytes() == whole


def test_an_output_may_be_empty_or_end_in_its_first_line(source, output):
    for text in (b"", b"{", b'{"id": "row 0", "ans'):
        output.write_bytes(text)
        assert answered(source, output).done_before == 0
        assert len(read_rows(output)) == 12
        output.unlink()


def test_new_rows_of_the_input_are_added(tmp_path, output):
    file = write_rows(tmp_path / "rows.jsonl", rows(3))
    answered(JsonLines(file), output)
    write_rows(file, [*rows(2, start=7), *rows(3)])
    assert answered(JsonLines(file), output).done_before == 3
    assert [each["id"] for each in read_rows(output)] == ["row 0", "row 1", "row 2", "row 7", "row 8"]


def test_errors_stay_until_they_are_tried_again(tmp_path, output):
    values = rows(6)
    for place in (1, 4):
        values[place]["question"] = "fail"
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", values))
    assert answered(source, output).tally.failed == 2
    assert answered(source, output).to_dict()["done_before"] == 6

    def mended(records):
        return (Outcome.of(record, reply("mended")) for record in records)

    summary = run(source, output, CONDITIONS, mended, retry=True)
    assert (summary.done_before, summary.tally.answered, summary.tally.failed) == (4, 6, 0)
    assert [each["id"] for each in read_rows(output)] == [f"row {n}" for n in (0, 2, 3, 5, 1, 4)]
    assert not list(tmp_path.glob(".todre-*"))


def test_trying_errors_again_loses_nothing_where_it_is_stopped(tmp_path, output):
    values = rows(4)
    values[0]["question"] = "fail"
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", values))
    answered(source, output)
    output.write_bytes(output.read_bytes() + b'{"id": "torn')
    broken_off(source, output, 0, retry=True)
    assert [each["id"] for each in read_rows(output)] == ["row 1", "row 2", "row 3"]
    assert answered(source, output).tally.failed == 1


def test_another_setting_is_named(source, output):
    broken_off(source, output, 3)
    refused(["max_new_tokens 64, not 32"], source, output, conditions={**CONDITIONS, "max_new_tokens": 32})
    refused(["seed null, not 1"], source, output, conditions={**CONDITIONS, "seed": 1})
    refused(["model", "not null"], source, output, conditions={"max_new_tokens": 64})
    settings_file(output).unlink()
    refused(["other settings"], source, output, conditions={**CONDITIONS, "max_new_tokens": 32})
    assert answered(source, output).done_before == 3


def test_another_row_under_the_same_id_is_refused(tmp_path, source, output):
    broken_off(source, output, 3)
    values = rows(12)
    values[1]["question"] = "Something else?"
    refused(["Line 2", "'row 1'", "others"], JsonLines(write_rows(tmp_path / "other.jsonl", values)), output)
    refused(["Line 1", "'row 0'", "does not have"], JsonLines(write_rows(tmp_path / "o.jsonl", rows(9, 1))), output)


def test_ids_are_given_once(tmp_path, output):
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", [*rows(3), *rows(1, start=1)]))
    refused(["'row 1'", "twice"], source, output)
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", [{"question": "a"}, {"id": 1, "question": "b"}]))
    refused(["'1'", "twice"], source, output)
    refused(["no rows"], JsonLines(write_rows(tmp_path / "rows.jsonl", [])), output)


def test_more_rows_than_an_output_holds_are_refused_before_the_first(tmp_path, output, monkeypatch):
    monkeypatch.setattr("todre.batch.run.MOST_LINES", 3)
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", rows(4)))
    refused(["more than 3 rows", "in parts"], source, output)
    assert not output.exists()
    assert answered(JsonLines(write_rows(tmp_path / "rows.jsonl", rows(3))), output).tally.answered == 3


def test_a_disk_without_locks_is_one_sentence(source, output, monkeypatch):
    def flock(stream, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OutputError, match="cannot be locked"):
        answered(source, output)


def test_other_versions_are_found(source, output, monkeypatch):
    assert other_versions(output) == {}
    broken_off(source, output, 3)
    assert other_versions(output) == {}
    now = {**versions(), "transformers": "99.0", "numpy": "99.0"}
    monkeypatch.setattr("todre.batch.settings.versions", lambda: now)
    assert other_versions(output) == {"transformers": (versions()["transformers"], "99.0")}
    assert answered(source, output).done_before == 3


def test_two_lines_about_one_row_are_refused(source, output):
    broken_off(source, output, 3)
    output.write_bytes(output.read_bytes() + output.read_bytes().splitlines(keepends=True)[1])
    refused(["two lines"], source, output)


@pytest.mark.parametrize("text", ["notes of mine", "notes\n", '{"a": 1}\n', '{"id": "row 0", "answer": "x"}\n', "[]\n"])
def test_a_file_that_no_run_wrote_is_left_alone(source, output, text):
    output.write_text(text)
    refused(["Line 1"], source, output)


def test_lines_of_any_size_are_read_again(source, output):
    """Servers answer with thousands of log-probabilities, more than files that users write may hold."""
    large = {"logprobs": [[0.5] * 10] * 60_000, "deep": json.loads("[" * 99 + "]" * 99)}

    def backend(records):
        for record in itertools.islice(records, 1):
            yield Outcome.of(dataclasses.replace(record, openai=True), dataclasses.replace(reply("yes"), body=large))

    assert run(source, output, CONDITIONS, backend).tally.answered == 1
    assert answered(source, output).done_before == 1


def test_settings_that_no_run_wrote_are_left_alone(source, output):
    settings_file(output).write_text('{"mine": 1}')
    refused(["run.json"], source, output)
    assert settings_file(output).read_text() == '{"mine": 1}'


def test_places_that_cannot_be_written(source, tmp_path):
    refused(["is a directory"], source, tmp_path)
    refused(["cannot be written"], source, tmp_path / "no" / "folder.jsonl", error=OutputError)


def test_two_runs_do_not_write_one_file(source, output):
    def other(records):
        refused(["another run"], source, output)
        yield from map(answer, records)

    run(source, output, CONDITIONS, other)
    assert len(read_rows(output)) == 12


def test_the_lock_holds_while_errors_are_tried_again(tmp_path, output):
    values = rows(3)
    values[0]["question"] = "fail"
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", values))
    answered(source, output)

    def other(records):
        refused(["another run"], source, output)
        yield from map(answer, records)

    run(source, output, CONDITIONS, other, retry=True)


def test_each_row_is_on_the_disk_before_the_next_one_is_asked_for(source, output, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), real(handle))[1])

    def backend(records):
        for number, record in enumerate(records):
            assert len(read_rows(output)) == number
            synced.clear()
            yield answer(record)
            assert synced == [output.stat().st_size]

    run(source, output, CONDITIONS, backend)


def test_an_error_of_the_backend_keeps_what_was_done(source, output):
    def backend(records):
        yield answer(next(iter(records)))
        raise TodreError("The server is gone.")

    with pytest.raises(TodreError, match="gone"):
        run(source, output, CONDITIONS, backend)
    assert answered(source, output).done_before == 1


def test_rows_are_read_as_they_are_answered_and_none_is_kept(tmp_path, output):
    """2,000 rows of 8 kB take little more memory than 200."""
    peaks = []
    for count in (200, 2000):
        source = JsonLines(tmp_path / f"{count}.jsonl")
        with source.file.open("w") as stream:
            for row in ({**row, "image": "x" * 8000} for row in rows(count)):
                stream.write(json.dumps(row) + "\n")
        tracemalloc.start()
        run(source, output.with_name(f"{count}.out.jsonl"), CONDITIONS, inline(Stub()))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 150 * 1800
