"""Sources: every row once, at a place that leads back to it; what is no row is refused before anything starts."""

import json
import os

import pytest
from batch.stubs import picture, request, rows, write_rows

from todre.batch.sources import JsonLines, Pictures, left_out
from todre.errors import InvalidValueError


def refused(source, *words):
    with pytest.raises(InvalidValueError) as caught:
        list(source.records())
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_rows_of_both_shapes(tmp_path):
    values = [*rows(2), request("a", picture("0.png"), "Why?"), {"image": "0.png", "question": "Why?"}]
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", values))
    records = list(source.records())
    assert [record.id for record in records] == ["row 0", "row 1", "a", "4"]
    assert [record.openai for record in records] == [False, False, True, False]
    assert [record.values for record in records] == values
    assert source.folder == tmp_path


def test_a_place_leads_back_to_its_row(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(each, ensure_ascii=False) for each in rows(3)]
    text = "\ufeff" + "\n\n".join([lines[0], "  ", '{"id": "ünïcode", "question": "¿?"}', *lines[1:]])
    file.write_text(text, encoding="utf-8")
    source = JsonLines(file)
    records = list(source.records())
    assert len(records) == 4
    assert [source.read(record.place) for record in reversed(records)] == records[::-1]


def test_whole_numbers_are_ids(tmp_path):
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", [{"id": 7, "question": "Why?"}]))
    assert [record.id for record in source.records()] == ["7"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": ""}', ["Line 2", "id ''"]),
        ('{"id": null}', ["Line 2", "id None"]),
        ('{"id": true}', ["id True"]),
        ('{"id": 1.5}', ["id 1.5"]),
        ('{"body": {}}', ["no custom_id"]),
        ('{"custom_id": 3, "body": {}}', ["custom_id 3"]),
        ("[1]", ["Line 2", "no JSON object"]),
        ('{"id": "a", "id": "b"}', ["Line 2", "twice"]),
        ("{", ["Line 2"]),
        ('{"id": "\\ud800"}', ["half of a character"]),
    ],
)
def test_a_line_that_is_no_row(tmp_path, line, words):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "first"}\n' + line + "\n", encoding="utf-8")
    refused(JsonLines(file), *words)


def test_no_file(tmp_path):
    refused(JsonLines(tmp_path / "none.jsonl"), "does not exist")
    refused(JsonLines(tmp_path), "is a directory")


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "inner/c.webp", "inner/deep/d.gif", ".git/e.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "pictures" / "link").symlink_to(tmp_path / "pictures", target_is_directory=True)
    return tmp_path / "pictures"


def test_a_folder_of_pictures(folder):
    source = Pictures((folder,), "Why?")
    records = list(source.records())
    assert [record.id for record in records] == ["a.JPG", "b.png", "inner/c.webp", "inner/deep/d.gif"]
    assert {record.values["question"] for record in records} == {"Why?"}
    assert all(os.path.isfile(record.values["image"]) for record in records)
    assert [source.read(record.place) for record in records] == records
    assert left_out(folder) == 4  # the notes, the hidden picture, the hidden folder, the link


def test_files_are_taken_whatever_their_suffix(folder, monkeypatch):
    monkeypatch.chdir(folder)
    source = Pictures((folder / "notes.txt", folder / "inner"), "Why?")
    assert [record.id for record in source.records()] == [str(folder / "notes.txt"), "c.webp", "deep/d.gif"]


def test_a_name_that_no_row_can_hold(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    refused(Pictures((tmp_path,), "Why?"), "no UTF-8")
