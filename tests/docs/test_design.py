"""What docs/design.md says of the rooms and of the directions between them is what the package has."""

import importlib
import pkgutil
import re
import tomllib

from docs.pages import ROOT, blocks, pages, text_of

PACKAGE = ROOT / "src" / "todre"
PAGE = "docs/design.md"


def _layers():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = settings["contracts"]
    return contract["layers"]


def test_the_directions_are_those_that_are_checked():
    assert _layers() in [block.text.splitlines() for block in blocks(PAGE)]


def test_every_room_is_in_the_tables():
    section = text_of(PAGE).split("## Where things live")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))
    rooms = {word.rstrip("/").removesuffix(".py") for cell in named for word in re.findall(r"`([\w./]+)`", cell)}
    there = {room.strip() for layer in _layers() for room in layer.split("|")} - {"__main__"}
    assert there - rooms == set()
    assert rooms - there == set()


def test_every_file_that_a_page_names_is_there():
    """`room/file.py` within the package, `tests/…` and `benchmarks/…` from the root."""
    for page in pages():
        for name in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|sh|toml))`", text_of(page)):
            assert any((folder / name).is_file() for folder in (ROOT, PACKAGE)), f"{page} names {name}"


def test_every_name_that_a_page_gives_in_full_is_there():
    """`todre.room.module.Name` in the text, and the names of the reference."""
    for page in pages():
        for name in set(re.findall(r"`(todre(?:\.\w+)+)|^::: (todre[\w.]+)", text_of(page), re.MULTILINE)):
            pkgutil.resolve_name(name[0] or name[1])


def test_the_changelog_leads_to_modules_that_are_there():
    rows = re.findall(
        r"^\| `todre[^|]+\| ([^|]+) \|$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 10
    for name in re.findall(r"`(todre[\w.]+)`", " ".join(rows)):
        importlib.import_module(name)


def test_every_test_that_a_page_names_is_there():
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for page in pages():
        assert set(re.findall(r"`(?:[\w/]+/)?(test_\w+\.py)`", text_of(page))) <= there, page
