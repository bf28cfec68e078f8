"""`make check` runs some tests of every room: tests/quick.txt lists them, one to a line."""

from __future__ import annotations

from pathlib import Path

_TESTS = Path(__file__).parents[1]
_LISTED = (_TESTS / "quick.txt").read_text(encoding="utf-8").splitlines()


def _rooms(paths: list[str]) -> set[str]:
    return {Path(path).parts[1] for path in paths if len(Path(path).parts) > 2}


def test_what_is_listed_is_there_and_in_order():
    assert sorted(set(_LISTED)) == _LISTED
    missing = [line for line in _LISTED if not (_TESTS.parent / line.partition("::")[0]).is_file()]
    assert not missing


def test_every_room_has_a_quick_test():
    files = [path.relative_to(_TESTS.parent).as_posix() for path in _TESTS.rglob("test_*.py")]
    apart = {"releases"}  # runs on other releases of transformers alone
    assert _rooms(_LISTED) == _rooms(files) - apart
