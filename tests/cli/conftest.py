"""Run the command line in this process, and look at its exit code, stdout and stderr."""

import io
import json
from typing import NamedTuple

import pytest
from PIL import Image

from todre.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """The sizes of a terminal that pytest-xdist gives its workers say nothing of where tables go."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)


@pytest.fixture(autouse=True)
def typed(monkeypatch):
    """What commands that read lines get, where a test types nothing else."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"/help\n"), encoding="utf-8"))


@pytest.fixture(autouse=True)
def fetched(monkeypatch, tmp_path_factory):
    """A cache in which `todre smol fetch` finds that there is nothing to do."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TODRE_CACHE", str(cache))
    folder = cache / "smol" / "base-pypi"
    folder.mkdir(parents=True)
    record = {"format": "todre smol base 1", "source": "pypi", "name": "none", "revision": "0", "sha256": "0" * 64}
    (folder / "source.json").write_text(json.dumps(record | {"files": {}}), encoding="utf-8")


@pytest.fixture
def run(capsys, monkeypatch):
    """run("ask", "a.png", "Why?") → (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(ended.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def picture(tmp_path):
    """A small picture file that the shipped model cuts into few tiles."""
    image = Image.new("RGB", (96, 48), (200, 200, 200))
    image.paste((220, 20, 20), (10, 10, 40, 40))
    path = tmp_path / "picture.png"
    image.save(path)
    return path
