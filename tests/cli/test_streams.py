"""Every command where stdout is closed, full, without a reader or of another encoding; and JSON, which is UTF-8."""

import io
import json
import os
import subprocess
import sys

import pytest
from cli.everything import LIGHT, QUESTION, RUNS, SILENT, arguments, commands
from played import ASKED, playing

from todre.cli import main
from todre.evaluate.engine import run as evaluate
from todre.evaluate.grid import grid


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run of `todre eval`."""
    folder = tmp_path_factory.mktemp("streams") / "run"
    evaluate(ASKED, grid(["todre", "random"], [0.5, 0.1], draws=1), folder, start=playing)
    return folder


@pytest.fixture
def call(picture, results, tmp_path, monkeypatch, capsys):
    """call(name, stream) → (exit code, stderr), with stdout as given."""
    monkeypatch.setattr("todre.cli.demo.SETTINGS", {"max_new_tokens": 1, "warm_up": 0, "repeats": 1})
    monkeypatch.setattr("todre.page.packages._NEEDED", ())  # Gradio, which has an environment of its own

    def call(name, stream):
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout", stream)
            with pytest.raises(SystemExit) as ended:
                main(arguments(name, picture, results, tmp_path / "new"))
        return ended.value.code, capsys.readouterr().err

    return call


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def one_sentence(err, *words):
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "unexpected" not in lines[0]
    for word in words:
        assert word in lines[0]


def test_every_command_is_among_those_that_are_tried():
    assert set(RUNS) == set(commands())


@pytest.mark.parametrize(
    ("name", "encoding"), [*((name, "ascii") for name in RUNS), *((name, "cp1252") for name in LIGHT)]
)
def test_no_character_stops_a_result(call, name, encoding):
    out = encoded(encoding)
    code, err = call(name, out)
    assert code == 0, err
    text = out.buffer.getvalue().decode(encoding)
    assert bool(text) == (name not in SILENT)


@pytest.mark.parametrize("name", RUNS)
def test_help_is_readable_in_ascii(name, monkeypatch):
    out = encoded("ascii")
    monkeypatch.setattr("sys.stdout", out)
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert f"todre {name}" in out.buffer.getvalue().decode("ascii")


@pytest.mark.parametrize("name", [name for name in RUNS if name not in SILENT])
def test_a_closed_stdout_is_said_before_a_model_is_loaded(call, name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("todre.loading.model.load", refuse)
    code, err = call(name, None)
    assert code == 1
    one_sentence(err, "stdout")


@pytest.mark.parametrize("name", SILENT)
def test_who_prints_nothing_needs_no_stdout(call, name, tmp_path):
    assert call(name, None)[0] == 0
    written = sorted(tmp_path.glob("new.*"))
    assert written
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.parametrize("name", [*LIGHT, "ask", "compare"])
def test_a_full_disk_behind_stdout_is_one_sentence(call, name):
    with open("/dev/full", "w", encoding="utf-8") as full:
        code, err = call(name, full)
    assert code == 1
    one_sentence(err, "cannot be written to stdout", "No space left")


@pytest.mark.parametrize("name", ["--help", "ask --help", "plot --help", "--version"])
def test_help_on_a_full_disk_is_one_sentence(name, monkeypatch, capsys):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit) as ended:
            main(name.split())
    monkeypatch.undo()
    assert ended.value.code == 1
    one_sentence(capsys.readouterr().err, "cannot be written to stdout")


@pytest.mark.parametrize("name", LIGHT)
def test_a_reader_that_leaves_is_no_matter_for_words(call, name):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        assert call(name, pipe) == (1, "")


def shell(line, **environment):
    """Run a line of bash in which $todre is the command."""
    env = os.environ | {"todre": f"{sys.executable} -m todre", "PYTHONUTF8": "0"} | environment
    return subprocess.run(["bash", "-c", line], capture_output=True, env=env, timeout=120)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("$todre methods --json | true; exit $((${PIPESTATUS[0]} > 1))", 0, ""),  # 1 if it was told
        ("$todre methods >&-", 1, "stdout"),
        ("$todre methods >/dev/full", 1, "No space left"),
        ("$todre methods nonesuch 2>&-", 2, ""),
        ("$todre methods nonesuch 2>/dev/full", 2, ""),
        ("$todre version <&- >&- 2>&-", 1, ""),
        ("cd $(mktemp -d); rmdir $PWD; $todre version", 0, ""),
        ("cd $(mktemp -d); rmdir $PWD; $todre flops", 1, "The working directory is gone"),
    ],
)
def test_the_process_ends_with_its_code_and_nothing_else(line, code, message):
    done = shell(line)
    err = done.stderr.decode()
    assert done.returncode == code, err
    assert err.count("\n") == (1 if message else 0)
    assert message in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_json_is_utf_8_whatever_the_terminal_is(environment):
    done = shell("$todre methods --json", **environment)
    assert done.returncode == 0, done.stderr
    assert any(ord(letter) > 127 for each in json.loads(done.stdout.decode("utf-8")) for letter in str(each))


def test_names_of_files_that_are_no_text_are_told_and_read_again(picture, tmp_path, monkeypatch, capsysbinary):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    os.rename(picture, name)
    with pytest.raises(SystemExit) as ended:
        main(["ask", name, QUESTION, "--json", "--max-new-tokens", "1", "--device", "cpu"])
    assert ended.value.code == 0
    assert json.loads(capsysbinary.readouterr().out.decode("utf-8"))["files"] == [name]
    with pytest.raises(SystemExit) as ended:
        main(["ask", name + "x", QUESTION])
    assert ended.value.code == 1
    message = capsysbinary.readouterr().err.decode()
    assert message.count("\n") == 1
    assert "\\udcff\\udcfe.pngx" in message
