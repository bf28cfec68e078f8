"""Every figure, page and table in the README and docs/ is made from what is committed now."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from todre.reading.leaderboard import page

ROOT = Path(__file__).parents[2]


def load_script():
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks/figures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["figures"] = module
    spec.loader.exec_module(module)
    return module


figures = load_script()
KNOWN = {made.path for made in figures.MADE} | set(figures.RUN)


@pytest.mark.parametrize("made", figures.MADE, ids=lambda made: made.path)
def test_it_is_made_from_what_is_committed(made):
    assert (ROOT / made.source).is_file(), f"{made.path} is made from {made.source}, which is not there"
    assert made.up_to_date(), f"{made.path} is out of date; run: make figures"


def test_every_picture_in_a_page_is_there_and_known():
    shown = {
        (path.parent / target).resolve().relative_to(ROOT).as_posix()
        for path in figures.pages()
        for target in re.findall(r"!\[[^\]]*\]\(([^)#]+)\)|<img[^>]* src=\"([^\"]+)\"", path.read_text())
        for target in target
        if target and not target.startswith("http")
    }
    assert len(shown) >= 5
    assert shown <= KNOWN
    there = {
        path.relative_to(ROOT).as_posix()
        for folder in ("docs/figures", "docs/images")
        for path in (ROOT / folder).iterdir()
        if path.suffix != ".json"
    }
    assert there <= KNOWN
    assert all((ROOT / path).is_file() for path in KNOWN)


@pytest.mark.parametrize("path", figures.pages(), ids=lambda path: path.name)
def test_tables_in_pages_are_what_their_commands_print(path):
    text = path.read_text(encoding="utf-8")
    assert len(re.findall("(?m)^<!-- made by: ", text)) == len(figures._TABLE.findall(text))
    assert figures.tables(text) == text, "run: make figures"


def test_every_committed_leaderboard_and_card_is_shown():
    """With a result in place, its page and figures belong to what is made, and not before."""
    boards = {path.stem for path in (ROOT / "results").glob("leaderboard*.json")}
    assert {board for board in boards if not board.endswith("-timings")} == set(figures.LEADERBOARDS)
    assert {path.stem for path in (ROOT / "results").glob("*-card.json")} == set(figures.CARDS)


def test_tables_are_filled_between_their_markers(folder):
    command = f"todre table {folder} --methods todre,random --no-intervals"
    text = f"Before.\n\n<!-- made by: {command} -->\n| old |\n<!-- end -->\n\nAfter <!-- made by: hand -->.\n"
    filled = figures.tables(text)
    assert filled.startswith(
        f"Before.\n\n<!-- made by: {command} -->\n| method | visual tokens per layer | 50 % | 10 % | 5 % |\n"
    )
    assert filled.endswith("|\n<!-- end -->\n\nAfter <!-- made by: hand -->.\n")
    assert "old" not in filled
    assert figures.tables(filled) == filled
    with pytest.raises(SystemExit, match="does not exist"):
        figures.tables(text.replace(str(folder), "gone"))


@pytest.mark.parametrize("name", ["docs/leaderboard.md", "docs/figures/leaderboard-radar.png"])
def test_the_leaderboard_can_be_made(name, folder, tmp_path, monkeypatch):
    """From a result of made-up answers; it is out of date as soon as that changes."""
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    for path in ("results", "docs/figures"):
        (tmp_path / path).mkdir(parents=True)
    made = {made.path: made for made in figures.LEADERBOARD}[name]
    source = tmp_path / made.source
    source.write_bytes((folder / "result.json").read_bytes())
    assert not made.up_to_date()
    made.write()
    assert made.up_to_date()
    source.write_text(source.read_text().replace('"todre-v1"', '"another"'))
    assert not made.up_to_date()


def test_every_picture_on_the_leaderboard_is_made(folder, results):
    shown = set(re.findall(r"\((figures/[^)]+)\)", page(results, "a.json", "todre eval")))
    pictures = {
        made.path.removeprefix("docs/"): made
        for made in figures.LEADERBOARD
        if made.path.endswith(".png") and made.source == "results/leaderboard.json"
    }
    assert shown == set(pictures)
    titles = {name: made.make(folder / "result.json").axes[0].texts[0].get_text() for name, made in pictures.items()}
    assert len(set(titles.values())) == 4
    assert titles["figures/leaderboard-pareto.png"] == "Retention against cost"


def test_the_command_lists_and_refuses(capsys):
    assert figures.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(path in listed for path in KNOWN)
    with pytest.raises(SystemExit):
        figures.main(["docs/unknown.png"])
    assert "is not made from a committed result" in capsys.readouterr().err
