"""todre batch: the answers of todre ask in a file, the exit code, and one sentence for what cannot work."""

import io
import json
import sys

import pytest
from cli.sentences import one_line
from PIL import Image

from todre.batch.records import Failure, Outcome
from todre.cli.batch import progress_bar

QUESTION = "Is there a red square in the picture?"
SHORT = ("--max-new-tokens", "4", "--device", "cpu")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def rows(tmp_path, picture):
    file = tmp_path / "rows.jsonl"
    values = [{"id": "a", "image": picture.name, "question": QUESTION},
              {"id": "b", "image": picture.name, "question": QUESTION, "retain": 5}]  # fmt: skip
    file.write_text("".join(json.dumps(each) + "\n" for each in values))
    return file


def test_rows_are_answered_as_by_ask_and_only_once(run, rows, picture, tmp_path):
    output = tmp_path / "out.jsonl"
    words = ("batch", rows, "--output", output, "--retain", "0.2", *SHORT)
    result = run(*words)
    assert (result.code, result.out) == (0, "")
    assert "2 of 2 rows answered" in result.err
    assert result.err.count("is a toy") == 1
    asked = run("ask", picture, QUESTION, "--json", "--retain", "0.2", *SHORT)
    expected = json.loads(asked.out)
    first, second = lines(output)
    assert first["answer"] == expected["answer"]
    assert first["visual_tokens"] == {name: expected["visual_tokens"][name] for name in ("before", "after")}
    assert second["visual_tokens"]["after"] == 5
    before = output.read_bytes()
    again = run(*words, "--json")
    assert json.loads(again.out)["done_before"] == 2
    assert output.read_bytes() == before
    one_line(run("batch", rows, "--output", output, "--retain", "0.3", *SHORT), 1, "method.retain 0.2, not 0.3")


def test_other_versions_are_said(run, rows, tmp_path, monkeypatch):
    words = ("batch", rows, "--output", tmp_path / "out.jsonl", *SHORT)
    assert "was begun with" not in run(*words).err + run(*words).err
    monkeypatch.setattr("todre.batch.settings.versions", lambda: {"todre": "99.0"})
    assert ", now 99.0; answers may differ" in run(*words).err


def test_rows_with_errors_end_with_1_and_are_tried_again(run, rows, tmp_path):
    rows.write_text(rows.read_text() + json.dumps({"id": "c", "image": "late.png", "question": QUESTION}) + "\n")
    output = tmp_path / "out.jsonl"
    result = run("batch", rows, "--output", output, *SHORT, "-q")
    one_line(result, 1, "1 of 3 rows", "--retry-errors")
    assert lines(output)[2]["error"]["type"] == "ImageError"
    Image.new("RGB", (96, 48)).save(tmp_path / "late.png")
    one_line(run("batch", rows, "--output", output, *SHORT, "-q"), 1, "1 of 3 rows")
    assert run("batch", rows, "--output", output, *SHORT, "--retry-errors").code == 0
    assert [line["id"] for line in lines(output)] == ["a", "b", "c"]
    assert "answer" in lines(output)[2]


def test_pictures_of_a_folder_and_by_pattern(run, tmp_path, picture, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        Image.open(picture).save(folder / name)
    (folder / "notes.txt").touch()
    result = run("batch", folder, "--question", QUESTION, "--output", tmp_path / "folder.jsonl", *SHORT)
    assert result.code == 0
    assert "1 files or folders" in result.err
    assert [line["id"] for line in lines(tmp_path / "folder.jsonl")] == ["1.png", "2.png"]
    inside = ("batch", folder, "--question", QUESTION, "--output", folder / "inside.jsonl", *SHORT)
    assert [run(*inside).code, run(*inside).code] == [0, 0]
    monkeypatch.chdir(folder)
    assert run("batch", "*.png", "--question", QUESTION, "--output", "../many.jsonl", *SHORT).code == 0
    answers = [[line["answer"] for line in lines(tmp_path / f"{name}.jsonl")] for name in ("folder", "many")]
    assert answers[0] == answers[1]


def test_a_process_of_its_own_answers_the_same(run, rows, tmp_path):
    outputs = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    assert run("batch", rows, "--output", outputs[0], *SHORT).code == 0
    assert run("batch", rows, "--output", outputs[1], *SHORT, "--processes", "1").code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_to_a_terminal_alone(monkeypatch):
    failed = Outcome(id="a", digest="0", openai=False, failure=Failure(type="ImageError", message="No."))
    shown = {}
    for kind in (Terminal, io.StringIO):
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr("sys.stderr", kind())
        assert list(progress_bar(False)([failed] * 3, 4, 10)) == [failed] * 3
        shown[kind] = sys.stderr.getvalue()
    assert "answering" in shown[Terminal]
    assert "/10" in shown[Terminal]
    assert shown[io.StringIO] == ""
    monkeypatch.setattr("sys.stderr", Terminal())
    assert len(list(progress_bar(True)([failed], 0, 1))) == 1
    assert sys.stderr.getvalue() == ""


OUT = ("--output", "out.jsonl")
WRONG = [
    ((), ("INPUT",)),
    (("ROWS",), ("--output",)),
    (("ROWS", "--output", "out.txt"), (".jsonl, .parquet",)),
    (("ROWS", *OUT, "--question", "Why?"), ("--question", "leave it out")),
    (("ROWS", "PICTURE", *OUT), ("give it alone",)),
    (("PICTURE", *OUT), ("add --question",)),
    (("PICTURE", *OUT, "--question", " "), ("question is empty",)),
    (("ROWS", *OUT, "--processes", "0"), ("--processes",)),
    (("ROWS", *OUT, "--processes", "2", "--ray", "local"), ("--processes and --ray",)),
    (("ROWS", *OUT, "--processes", "2", "--endpoint", "http://a/v1"), ("--processes and --endpoint",)),
    (("ROWS", *OUT, "--workers", "2"), ("--workers", "without --ray")),
    (("ROWS", *OUT, "--concurrency", "2"), ("--concurrency", "no --endpoint")),
    (("ROWS", *OUT, "--endpoint", "http://a/v1", "--method", "random"), ("--method",)),
    (("ROWS", *OUT, "--endpoint", "http://a/v1", "--device", "cpu"), ("--device",)),
    (("ROWS", *OUT, "--endpoint", "http://a/v1", "--endpoint-kind", "plain", "--retain", "0.1"), ("plain", "--retain")),
    (("ROWS", *OUT, "--endpoint", "http://a/v1", "--endpoint-kind", "vlm"), ("did you mean 'vllm'",)),
    (("ROWS", *OUT, "--endpoint", "http://a/v1", "--timeout", "0"), ("0",)),
    (("ROWS", *OUT, "--endpoint", "127.0.0.1:8000"), ("'127.0.0.1:8000'", "http://")),
    (("ROWS", *OUT, "--endpoint", "http://a/v1", "--api-key-env", "sk-123"), ("'sk-123'", "variable")),
    (("ROWS", *OUT, "--ray", "here"), ("'here'", "HOST:PORT")),
    (("ROWS", *OUT, "--method", "none", "--retain", "0.1"), ("none", "--retain")),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=range(len(WRONG)))
def test_wrong_usage(run, rows, picture, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    places = {"ROWS": rows, "PICTURE": picture}
    result = run("batch", *(places.get(word, word) for word in words))
    if words:
        one_line(result, 2, *said)
    assert result.code == 2
    assert not (tmp_path / "out.jsonl").exists()


FAILED = [
    (("none.jsonl", *OUT), ("none.jsonl", "does not exist")),
    (("*.bmp", "--question", "Why?", *OUT), ("*.bmp", "no file")),
    (("empty", "--question", "Why?", *OUT), ("empty", "no rows")),
    (("ROWS", "--output", "no/out.jsonl"), ("no", "create it first")),
    (("ROWS", "--output", "ROWS"), ("is a file that this reads",)),
    (("ROWS", "--output", "table.parquet"), ("table.parquet", "there already")),
    (("ROWS", *OUT, "-m", "no/such/model"), ("no/such/model",)),
    (("ROWS", *OUT, "--endpoint", "http://127.0.0.1:9/v1", "--retries", "0"), ("does not list its models",)),
]


@pytest.mark.parametrize(("words", "said"), FAILED, ids=range(len(FAILED)))
def test_what_cannot_be_done(run, rows, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.parquet").touch()
    before = rows.read_bytes()
    one_line(run("batch", *(rows if word == "ROWS" else word for word in words)), 1, *said)
    assert (tmp_path / "table.parquet").read_bytes() == b""
    assert rows.read_bytes() == before


@pytest.mark.parametrize(("words", "package"), [(("--ray", "local"), "ray"), ((), "pyarrow")])
def test_packages_that_are_absent(run, rows, tmp_path, monkeypatch, words, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    output = "out.jsonl" if words else "out.parquet"
    one_line(run("batch", rows, "--output", output, *words, *SHORT, "-q"), 1, package, "pip install 'todre[ray]'")
