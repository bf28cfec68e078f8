"""Ctrl-C: one line and exit code 130, wherever it comes, and it is never lost."""

import os
import signal
import subprocess
import sys
import time
import weakref

import pytest
from cli.everything import QUESTION, RUNS, arguments

from todre.cli import main
from todre.cli.interrupts import Interrupts

SECONDS = 5


def press():
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(*steps):
    """Take the steps until they are interrupted; what listened."""
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        _take(interrupts, steps)
    return interrupts


def _take(interrupts, steps):
    with interrupts:
        for step in steps:
            step()


def work():
    """Work that would take too long."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        time.sleep(0.01)


@pytest.mark.parametrize("name", RUNS)
def test_every_command_stops_as_it_begins(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("todre.cli.guard._warnings_on_stderr", lambda *_: press())
    with pytest.raises(SystemExit) as ended:
        main(arguments(name, "a.png", "run", tmp_path / "new"))
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")
    assert not list(tmp_path.iterdir())


AT_IMPORT = """
import os, sys
class Trap:
    target = sys.argv.pop(1)
    def find_spec(self, name, path=None, target=None):
        if name == Trap.target:
            Trap.target = None
            os.kill(os.getpid(), 2)
sys.meta_path.insert(0, Trap())
from todre.cli import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["todre.cli.process", "signal", "todre.cli.streams", "typer", "rich.console", "todre.cli.app",
     "todre.methods.registry", "numpy", "torch", "torch.nn", "transformers"],
)  # fmt: skip
def test_it_is_heard_in_the_middle_of_any_import(module, picture):
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, module, "ask", picture, QUESTION],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def in_del():
    class Deaf:
        def __del__(self):
            press()

    del [Deaf()][0]
    gone = Deaf()
    del gone


def in_weakref():
    class Thing:
        pass

    thing = Thing()
    watching = weakref.ref(thing, lambda _: press())
    del thing
    assert watching() is None


def in_bare_except():
    try:
        press()
        time.sleep(0.1)
    except BaseException:
        return


@pytest.mark.parametrize("swallow", [in_del, in_weakref, in_bare_except])
def test_one_that_somebody_swallows_comes_again(swallow, capfd):
    started = time.monotonic()
    assert interrupted(swallow, work).came
    assert time.monotonic() - started < SECONDS
    assert capfd.readouterr() == ("", "")


def test_what_cleans_up_is_left_in_peace():
    cleaned = []

    def clean_up():
        try:
            press()
            work()
        finally:
            time.sleep(0.8)
            cleaned.append(True)

    interrupted(clean_up)
    assert cleaned


def test_a_command_that_ends_all_the_same_has_been_interrupted(capsys, monkeypatch):
    monkeypatch.setattr("todre.cli.env.show_text", lambda _: in_bare_except())
    with pytest.raises(SystemExit) as ended:
        main(["version"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_that_it_was_turned_into_is_not_told(capsys, monkeypatch):
    def turn(_):
        try:
            press()
            time.sleep(0.1)
        except KeyboardInterrupt:
            raise ImportError("numpy.core failed to import") from None

    monkeypatch.setattr("todre.cli.env.show_text", turn)
    with pytest.raises(SystemExit) as ended:
        main(["version"])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_handlers_are_as_they_were_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)], sys.unraisablehook
    interrupted(press, work)
    assert ([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)], sys.unraisablehook) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_one_that_is_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            press()
            time.sleep(0.05)
        assert not interrupts.came
    finally:
        signal.signal(signal.SIGINT, before)


def group_lives(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_several_processes_end_together_and_leave_nothing_behind(tmp_path):
    """The terminal tells all processes at once; the one that started the others ends them."""
    words = ["--tasks", "scenes-colour", "--limit", "200", "--group-size", "2", "--methods", "all", "--processes", "2"]
    command = [sys.executable, "-m", "todre", "eval", *words, "--output", tmp_path / "run"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        answers, deadline = tmp_path / "run" / "answers.jsonl", time.monotonic() + 90
        while running.poll() is None and time.monotonic() < deadline:
            if answers.exists() and answers.read_text().count("\n") > 1:
                break
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (130, "interrupted\n")
        while group_lives(running.pid) and time.monotonic() < deadline + 30:
            time.sleep(0.05)  # multiprocessing's own last process takes a moment
        assert not group_lives(running.pid)
    finally:
        if group_lives(running.pid):
            os.killpg(running.pid, signal.SIGKILL)
