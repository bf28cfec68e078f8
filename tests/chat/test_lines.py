"""What typed lines mean."""

import pytest

from todre.chat.lines import COMMANDS, Command, Question, paths_of, read_line
from todre.errors import InvalidValueError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with some files, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b c.png", "it's.png", "plain", "ü.png"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("what is it?", Question("what is it?")),
        ("  what   is it?  ", Question("what   is it?")),
        ("a.png", Question("", ("a.png",))),
        ("b c.png", Question("", ("b c.png",))),
        ("it's.png", Question("", ("it's.png",))),
        ("ü.png", Question("", ("ü.png",))),
        ("a.png 'b c.png'", Question("", ("a.png", "b c.png"))),
        ("a.png what is it?", Question("a.png what is it?")),
        ("what is it? @a.png", Question("what is it?", ("a.png",))),
        ("@a.png what is @'b c.png' here? @\"it's.png\"", Question("what is here?", ("a.png", "b c.png", "it's.png"))),
        ("@a.png", Question("", ("a.png",))),
        ("write to me@a.png", Question("write to me@a.png")),
        ("what does @@home mean?", Question("what does @home mean?")),
        ("what's up?", Question("what's up?")),
        ("/retain 0.25", Command("/retain", "0.25")),
        ("/retain    0.25 ", Command("/retain", "0.25")),
        ("/report", Command("/report", "")),
        ("/picture a.png 'b c.png'", Command("/picture", "a.png 'b c.png'")),
    ],
)
def test_meaning(line, meant):
    assert read_line(line) == meant


def test_path_from_the_root_is_no_command(here):
    assert read_line(f"{here}/a.png") == Question("", (f"{here}/a.png",))
    assert read_line(f"{here}/b c.png") == Question("", (f"{here}/b c.png",))
    assert read_line(f"look @{here}/a.png") == Question("look", (f"{here}/a.png",))


def test_home_is_understood(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert read_line("~/a.png") == Question("", ("~/a.png",))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/metod x", "did you mean /method"),
        ("/zzz", "/help lists"),
        ("/no/such/file.png", "no command and no file"),
        ("missing.png", "missing.png is no file here"),
        ("MISSING.JPG", "is no file here"),
        ("what is @missing.png", "@missing.png names no file"),
        ("what is @'missing one.png'", "@missing one.png names no file"),
        ("@", "names no file"),
        ("what \udcff is", "not valid UTF-8"),
        ("/picture a\udcff.png", "not valid UTF-8"),
        ("@a\0b what?", "names no file"),
        ("@" + "x" * 5000, "names no file"),
    ],
)
def test_what_is_not_understood_is_one_sentence(line, sentence):
    with pytest.raises(InvalidValueError, match=sentence) as raised:
        read_line(line)
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()


def test_paths_side_by_side():
    assert paths_of("b c.png") == ("b c.png",)
    assert paths_of("a.png b\\ c.png") == ("a.png", "b c.png")
    assert paths_of("") == ()


def test_every_command_says_what_it_does():
    assert all(name.startswith("/") and meaning for name, (_, meaning) in COMMANDS.items())
