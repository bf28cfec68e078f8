"""A folder to run a page's blocks in, with the pictures of `todre demo` made once for all pages."""

import io
import shutil

import pytest

from todre.cli import main


def command_line(words):
    """Run a todre command in this process; it must end with 0."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code in (0, None), words


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory):
    """The folder that `todre demo` writes."""
    folder = tmp_path_factory.mktemp("demo") / "pictures"
    command_line(["demo", "--output", str(folder)])
    return folder


@pytest.fixture
def todre_command(tmp_path, monkeypatch, request):
    """Runs the words of a todre command in an empty folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    def run(words):
        if words[:2] == ["demo", "--output"] and len(words) == 3:
            shutil.copytree(request.getfixturevalue("demonstrated"), tmp_path / words[2])
        else:
            command_line(words)

    return run
