"""Tables and help in terminals and pipes of any width: nothing is cut, and nothing is wider than it has to be."""

import io
import json
import re
from collections import Counter

import pytest
from cli.everything import commands
from hypothesis import given, settings
from hypothesis import strategies as st
from rich import box
from rich.table import Table

from todre.cli.guard import examples
from todre.cli.table_layout import PIPE_WIDTH, print_fitting
from todre.methods import registry

LIGHT = (("methods",), ("methods", "todre"), ("models",), ("flops",), ("reproduce", "--list"), ("env",))
LETTERS = st.text("abcdefghij klmno-_äé→…", min_size=1, max_size=60)


def printed(table, monkeypatch, columns=None, whole=False):
    out = io.StringIO()
    with monkeypatch.context() as patched:
        patched.delenv("COLUMNS", raising=False)
        if columns is not None:
            patched.setenv("COLUMNS", str(columns))
        patched.setattr("sys.stdout", out)
        print_fitting(table, whole)
    return out.getvalue()


def letters(text):
    return Counter(re.sub(r"[\s\u2500-\u257f]", "", text))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_letter_of_a_table_is_lost(data):
    headings = data.draw(st.lists(LETTERS, min_size=1, max_size=7))
    rows = data.draw(st.lists(st.tuples(*[LETTERS] * len(headings)), min_size=1, max_size=4))
    columns = data.draw(st.none() | st.integers(20, 200))
    table = Table(box=data.draw(st.sampled_from([box.SIMPLE_HEAD, None])), pad_edge=False)
    for heading in headings:
        wrap, high = data.draw(st.booleans()), data.draw(st.none() | st.integers(5, 30))
        table.add_column(heading, no_wrap=not wrap, max_width=high if wrap else None)
    for row in rows:
        table.add_row(*row)
    with pytest.MonkeyPatch.context() as patched:
        shown = printed(table, patched, columns)
    # As blocks, a table leaves out headings that no row has a value for.
    values = list(zip(*rows, strict=True))
    filled = [headings[place] for place in range(1, len(headings)) if "".join(values[place]).strip()]
    whole = sum((letters(cell) for cell in [*filled, *(cell for row in rows for cell in row)]), Counter())
    assert not whole - letters(shown)
    assert letters(shown)["…"] <= sum((letters(each) for each in headings), Counter())["…"] * len(rows) + whole["…"]
    if columns is not None:
        assert max(map(len, shown.splitlines())) <= columns


def test_a_small_table_in_a_pipe_is_small_and_a_wide_one_whole(monkeypatch):
    small = Table("a", "b")
    small.add_row("1", "2")
    assert max(map(len, printed(small, monkeypatch).splitlines())) < 20
    words = Table("text")
    words.add_row("word " * 100)
    assert max(map(len, printed(words, monkeypatch).splitlines())) <= PIPE_WIDTH
    wide = Table(*(f"heading{number}" for number in range(30)))
    wide.add_row(*(f"value{number}" for number in range(30)))
    line = next(line for line in printed(wide, monkeypatch).splitlines() if "value0 " in line)
    assert re.findall(r"value\d+", line) == [f"value{number}" for number in range(30)]


def test_what_does_not_fit_comes_as_a_block_for_each_row(monkeypatch):
    table = Table("method", "visual\ntokens", "FLOPs", title="a title", caption="a caption")
    for column in table.columns:
        column.no_wrap = True
    table.add_row("todre-with-a-long-name", "348 → 35", "2.78 G")
    table.add_row("none", "348", "")
    assert printed(table, monkeypatch, 40).splitlines() == [
        "a title", "todre-with-a-long-name", "  visual tokens: 348 → 35", "  FLOPs: 2.78 G", "none",
        "  visual tokens: 348", "a caption",
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_lists_are_whole_at_any_width(run, monkeypatch, words, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    output = run(*words).out
    assert "…" not in output
    known = {
        "methods": [registry.entry(name).summary for name in registry.names()],
        "models": [row["note"] for row in json.loads(run("models", "--json").out)],
    }
    for sentence in known[words[0]] if words in (("methods",), ("models",)) else []:
        assert not letters(sentence) - letters(output)
        assert all(word in re.sub(r"\s", "", output) or len(word) > 8 for word in sentence.split())


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", commands())
def test_no_word_of_the_help_is_cut(run, monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    output = re.sub(r"[\s\u2500-\u257f]", "", run(*name.split(), "-h").out)
    command = commands()[name]
    for parameter in command.params:
        plain = re.sub(r"[\[\]]", "", output)
        assert re.sub(r"[\s\[\]]", "", parameter.help or "") in plain
        for flag in parameter.opts if parameter.param_type_name == "option" else ():
            assert flag in output
    for line in (command.epilog or "").split("\n\n")[1:]:
        assert re.sub(r"\s", "", line.replace("\\[", "[")) in output


@pytest.mark.parametrize("group", ["", "analyze", "plot"])
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_lists_of_commands_say_each_ones_first_sentence(run, monkeypatch, group, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    output = re.sub(r"[\s\u2500-\u257f]", "", run(*group.split(), "--help").out)
    for name, command in commands().items():
        if name.rpartition(" ")[0] == group:
            assert re.sub(r"\s", "", command.help.split("\n\n")[0]) in output


def test_examples_are_not_broken():
    assert examples("todre ask [a]").endswith("  todre ask \\[a]")
