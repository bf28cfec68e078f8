"""todre chat: lines from a pipe, and from a terminal with Ctrl-C, Ctrl-D and completion."""

import codecs
import contextlib
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli.sentences import one_line

from todre.bench.presets import PRESETS
from todre.bench.random_checkpoint import save_random_checkpoint
from todre.scenes import make_scene

FIRST, SECOND = "Is there a blue triangle in the picture?", "what color is it?"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    make_scene(3, "val", size=(120, 100)).image.save(path)
    return path


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A model whose answers do not end by themselves."""
    folder = tmp_path_factory.mktemp("endless")
    save_random_checkpoint(PRESETS["tiny"], folder, torch.float32)
    return folder


@pytest.fixture
def talk(run, monkeypatch):
    """talk("line", "line", options=(…)) → (code, stdout, stderr), the lines coming from a pipe."""

    def call(*lines, options=(), data=None):
        given = data if data is not None else "".join(f"{line}\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        return run("chat", "--device", "cpu", *options)

    return call


def test_answers_go_to_stdout_and_the_rest_to_stderr(talk, run, scene):
    asked = run("ask", scene, FIRST, "--device", "cpu", "-q").out
    result = talk(scene, FIRST, SECOND)
    assert result.code == 0, result.err
    first, second = result.out.splitlines()
    assert f"{first}\n" == asked
    assert second
    assert f"{scene} (120 × 100) goes with the next question" in result.err
    assert len(re.findall(r"visual tokens \d+ → \d+ .*first token \d+\.\d\d s, \d+ tokens", result.err)) == 2
    assert "is a toy" in result.err


def test_picture_of_the_command_line_goes_with_the_first_question(talk, scene):
    assert talk(FIRST, options=(scene, "-q")).out == talk(f"{FIRST} @{scene}", options=("-q",)).out
    quiet = talk(FIRST, options=(scene, "-q"))
    assert quiet.err == ""


def test_line_without_an_end_is_answered(talk, scene):
    assert (
        talk(data=f"@{scene} {FIRST}".encode(), options=("-q",)).out == talk(f"@{scene} {FIRST}", options=("-q",)).out
    )


def test_commands_and_report(talk, scene):
    result = talk(
        "/help", "", f"@{scene} {FIRST}", "/retain 20", "/method divprune", SECOND, "/report", "/quit", "not read"
    )
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert sum(line.startswith("/") for line in lines) == 8
    table = result.out[result.out.index("where") :]
    assert re.search(r"pictures +\d+ +100\.0 %", table)
    assert re.search(r"layers 1–8 +20 ", table)
    assert "dropped inside: no layer dropped all" in table
    assert re.search(r"KV: .* MiB → .* [KM]iB", table)
    assert "todre, retain 20" in result.err
    assert "divprune, retain 20" in result.err
    assert "→ 20 (" in result.err


def test_report_has_each_run_of_layers(talk, scene):
    out = talk(f"@{scene} {FIRST}", "/report", options=("--method", "vtw", "-q")).out
    assert re.search(r"layers 1–\d +\d+ +100\.0 %", out)
    assert re.search(r"layers? \d.* 0 +0\.0 %", out)
    assert "dropped inside: all after layer" in out
    assert re.search(r"pictures +0 +–", talk("hello", "/report", options=("-q",)).out)


def test_bad_lines_are_one_sentence_each_and_the_chat_goes_on(talk, scene, tmp_path):
    (tmp_path / "torn.png").write_bytes(scene.read_bytes()[:200])
    bad = ["/report", "/nope", "/retain x", "/method xx", "missing.png", f"@{tmp_path}/torn.png what?", "/quit now",
           "is <image> here?", "/help me"]  # fmt: skip
    result = talk(*bad, f"@{scene} {FIRST}")
    assert result.code == 1
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad), result.err
    assert "Traceback" not in result.err
    assert "unexpected" not in result.err
    assert len(result.out.splitlines()) == 1
    assert result.out == talk(f"@{scene} {FIRST}").out


def test_bytes_that_are_no_text_are_refused(talk, scene):
    result = talk(data=b"what \xff is it?\n" + f"@{scene} {FIRST}\n".encode())
    assert result.code == 1
    assert "not valid UTF-8" in result.err
    assert len(result.out.splitlines()) == 1


def test_nothing_typed_is_nothing_answered(talk):
    assert talk(data=b"", options=("-q",)) == (0, "", "")


def test_cut_answer_says_so(talk, scene):
    result = talk(f"@{scene} {FIRST}", options=("--max-new-tokens", "1"))
    assert "cut after 1 tokens; --max-new-tokens allows more" in result.err


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--retain", "2.5"), 2, "2.5"),
        (("--method", "none", "--retain", "0.5"), 2, "keeps every token"),
        (("--method", "vtw", "--retain", "0.5"), 2, "has no retain"),
        (("missing.png",), 1, "does not exist"),
        (("-m", "/no/such/model"), 1, "/no/such/model"),
    ],
)
def test_bad_options(talk, options, code, sentence):
    one_line(talk("hello", options=(*options, "-q")), code, sentence)


class Terminal:
    """A program at a pseudo-terminal: what is typed goes in, what it shows is read."""

    def __init__(self, *arguments):
        self.end, inner = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "todre", "chat", "--device", "cpu", *map(str, arguments)],
            stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(inner)
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.shown = ""

    def type(self, text):
        os.write(self.end, text.encode())

    def until(self, pattern, seconds=60):
        """Read until the pattern is shown since the last call; what was shown."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, f"{pattern} is not in {self.shown!r}"
            if select.select([self.end], [], [], 0.5)[0]:
                try:
                    self.shown += self.decoder.decode(os.read(self.end, 65536))
                except OSError:
                    assert re.search(pattern, self.shown), f"it ended with {self.shown!r}"
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.end)


@pytest.fixture
def terminal():
    opened = []

    def call(*arguments):
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield call
    for each in opened:
        each.close()


def press_until(chat, key, pattern):
    """Press a key, and again as a person would: the terminal may echo a line before readline listens."""
    for _ in range(5):
        chat.type(key)
        with contextlib.suppress(AssertionError):
            return chat.until(pattern, seconds=15)
    raise AssertionError(f"{pattern} never came")


def test_at_a_terminal_control_c_stops_the_answer_and_control_d_leaves(terminal, endless, scene):
    chat = terminal("-m", endless, "--max-new-tokens", "3000", scene)
    chat.until("/help lists the commands")
    chat.until("> ")
    chat.type("w9 w10\n")
    chat.until(r"w\d+ w\d+ w\d+")
    chat.type("\x03")
    chat.until(r"first token .* tokens in .*, stopped")
    chat.until("> ")
    chat.type("half a line")
    chat.until("half a line")
    press_until(chat, "\x03", "> ")
    chat.type("/retain 0.5\n")
    chat.until("todre, retain 0.5")
    chat.until("> ")
    chat.type("/report\n")
    chat.until("text tokens")
    chat.until("> ")
    chat.type("\x04")
    assert chat.process.wait(30) == 0


def test_at_a_terminal_paths_and_commands_are_completed(terminal, scene):
    pytest.importorskip("readline")
    chat = terminal("-q")
    chat.until("> ")
    chat.type(f"what is it? @{str(scene)[:-4]}\t\n")
    chat.until(r"\w+\r\n> ")
    chat.type("/repo\t\n")
    chat.until("text tokens")
    chat.until("> ")
    chat.type("/nope\n")
    chat.until("no command and no file")
    chat.until("> ")
    chat.type("/quit\n")
    assert chat.process.wait(30) == 0


def test_session_on_the_page_is_what_is_shown(run, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1].splitlines()
    assert run("demo", "--output", tmp_path / "pictures", "-q").code == 0
    typed = "".join(f"{line.removeprefix('> ')}\n" for line in shown if line.startswith("> "))
    done = subprocess.run(
        [sys.executable, "-m", "todre", "chat", "--device", "cpu"],
        input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path, timeout=300, encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "200"}, check=False,
    )  # fmt: skip

    def plain(lines):
        lines = [re.sub(r"\d+\.\d\d s", "N s", line.rstrip()) for line in lines]
        return [line for line in lines if line and not line.startswith("todre-tiny, which ships")]

    assert plain(done.stdout.splitlines()) == plain(line for line in shown if not line.startswith("> "))
    assert done.returncode == 1
