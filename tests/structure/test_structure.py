"""The structure of the package holds, and its checks notice what breaks it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from structure import rules

_ROOT = Path(__file__).parents[2]
_NONE = rules.Exceptions()


def _package(folder: Path, files: dict[str, str]) -> Path:
    """A package `todre` in `folder` with these files, and an `__init__.py` in every folder."""
    package = folder / "todre"
    for name, text in files.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for place in [package, *(each for each in package.rglob("*") if each.is_dir())]:
        (place / "__init__.py").touch()
    return package


_GOOD = {
    "errors.py": '"""Errors of the package."""\n',
    "hf/calls.py": 'from todre.errors import Any\n\n"""Spells input_ids, as this room may."""\n',
    "runtime/step.py": "from ..hf import calls\nfrom todre.hf.calls import Call\nINPUT_IDS = my_input_ids = 3\n",
    "bench/calls.py": "# A room outside the core may use a file name again.\n" * rules.MOST_LINES,
}


def test_a_package_that_keeps_the_rules_is_let_be(tmp_path):
    assert rules.violations(_package(tmp_path, _GOOD), _NONE) == []


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"hf/calls.py": "import todre.runtime.step\n"}, "import one another; .*: todre.hf.calls, todre.runtime.step"),
        ({"hf/calls.py": "def call():\n    from todre.runtime import step\n"}, "todre.hf.calls, todre.runtime.step"),
        ({"hf/calls.py": "from ..runtime.step import Step\n"}, "todre.hf.calls, todre.runtime.step"),
        (
            {"hf/calls.py": "import typing\nif typing.TYPE_CHECKING:\n    from todre.runtime.step import S\n"},
            "import one another; .*: todre.hf.calls, todre.runtime.step",
        ),
        (
            {"hf/__init__.py": "from todre.hf.calls import Call\n", "errors.py": "from todre import hf\n"},
            "import one another; .*: todre.errors, todre.hf, todre.hf.calls",
        ),
        ({f"more_{n}.py": "" for n in range(15)}, "17 modules lie at the root, at most 16 may: __init__.py, errors.py"),
        ({"select/calls.py": ""}, "calls.py is used twice in the core rooms: hf/calls.py, select/calls.py"),
        ({"methods/views/errors.py": ""}, "errors.py is used twice .*: errors.py, methods/views/errors.py"),
        ({"bench/run.py": "\n" * 301}, "bench/run.py has 301 lines, at most 300 are allowed"),
        ({"runtime/masks.py": "\nmask = batch.input_ids\n"}, "runtime/masks.py:2 spells transformers' input_ids"),
        ({"runtime/masks.py": "mask = batch['input_ids']\n"}, "runtime/masks.py:1 spells transformers' input_ids"),
        ({"runtime/masks.py": "call(input_ids=3)  # fine\n"}, "runtime/masks.py:1 spells transformers' input_ids"),
        ({"runtime/masks.py": 'print(f"{batch.input_ids}")\n'}, "runtime/masks.py:1 spells transformers' input_ids"),
        ({"runtime/masks.py": "# of (b, q) input_ids\n"}, "runtime/masks.py:1 spells transformers' input_ids"),
        ({"runtime/masks.py": '"""Masks.\n\nOf input_ids.\n"""\n'}, "runtime/masks.py:3 spells .* which only hf/ may"),
        ({"report.py": "import x\ny = x.get_decoder()\n"}, "report.py:2 spells transformers' get_decoder"),
        (
            {"report.py": f'"""{"a" * 80}.\n\nMore.\n"""\n'},
            "report.py:1 has a docstring with 81 of at most 80 characters in its first line",
        ),
        (
            {"report.py": "def f():\n    '''A first line that goes on\n    here.'''\n"},
            "report.py:2 .* not end with a period",
        ),
        ({"report.py": f'A = 3\n"""{"a" * 80}."""\n'}, "report.py:2 has a docstring with 81 of at most 80"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path, files, sentence):
    (line,) = rules.violations(_package(tmp_path, _GOOD | files), _NONE)
    assert re.search(sentence, line), line


def test_exceptions_hold_for_what_they_name_and_are_noticed_once_no_longer_needed(tmp_path):
    files = {"bench/run.py": "\n" * 301, "report.py": "input_ids = position_ids\n"}
    package = _package(tmp_path, _GOOD | files)
    allowed = rules.Exceptions({"bench/run.py": 301}, {"report.py": ("input_ids", "position_ids")})
    assert rules.violations(package, allowed) == []
    unneeded = rules.Exceptions(
        {"bench/run.py": 301, "hf/calls.py": 400}, {"report.py": ("input_ids", "position_ids", "softcap")}
    )
    assert rules.violations(package, unneeded) == [
        "hf/calls.py needs no exception for its length; take it out of LONG_FILES",
        "report.py does not spell softcap; take it out of SPELLED",
    ]


def test_the_command_fails_where_the_check_does(tmp_path):
    def run(folder):
        command = [sys.executable, rules.__file__, str(folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    good = run(_package(tmp_path / "good", _GOOD))
    assert (good.returncode, good.stdout) == (0, "Structure: all rules hold.\n")
    bad = run(_package(tmp_path / "bad", _GOOD | {"select/calls.py": ""}))
    assert bad.returncode == 1
    assert bad.stdout.endswith("Structure: 1 violations.\n")


def test_this_package_keeps_the_rules():
    assert rules.violations() == []


def _rooms() -> list[str]:
    """The layers of the contract, highest first, one or more rooms in each."""
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = settings["contracts"]
    return contract["layers"]


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package `todre` in `folder`, or in this one's."""
    pytest.importorskip("importlinter", reason="import-linter is a development tool")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    start = (
        "from importlinter.cli import lint_imports_command as run; run(['--no-cache', '--config', 'pyproject.toml'])"
    )
    return subprocess.run(
        [sys.executable, "-c", start],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_imports_of_this_package_run_one_way():
    done = _lint_imports(_ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Imports run one way KEPT" in done.stdout


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "Imports run one way KEPT"),
        ({"hf/low.py": "import todre.runtime.room"}, "todre.hf is not allowed to import todre.runtime"),
        (
            {"methods/low.py": "def f():\n    from todre.hf import room"},
            "todre.methods is not allowed to import todre.hf",
        ),
        (
            {"tower/low.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from todre.pruning import room"},
            "todre.tower is not allowed to import todre.pruning",
        ),
        ({"bench/low.py": "from todre.lmms import room"}, "todre.bench is not allowed to import todre.lmms"),
        ({"annex/room.py": ""}, "annex"),
    ],
)
def test_the_contract_notices_an_import_that_runs_back_and_a_room_without_a_place(tmp_path, files, sentence):
    rooms = [room.strip() for layer in _rooms() for room in layer.split("|")]
    _package(tmp_path, {f"{room}/room.py": "" for room in rooms} | files)
    done = _lint_imports(tmp_path)
    assert sentence in done.stdout, done.stdout + done.stderr
    assert bool(done.returncode) == bool(files)


def test_every_room_of_the_package_has_a_place_in_the_contract():
    places = {room.strip() for layer in _rooms() for room in layer.split("|")}
    package = rules.PACKAGE
    rooms = {each.parent.name for each in package.glob("*/__init__.py")} | {each.stem for each in package.glob("*.py")}
    assert places == rooms - {"__init__"}
