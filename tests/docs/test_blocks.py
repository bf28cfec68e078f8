"""Every command and snippet of README.md and docs/ runs on the shipped model, or a marker says what it needs."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise

import pytest
from docs.pages import ROOT, all_blocks, blocks, pages, text_of

from todre.cli.app import command

RUN = ("sh", "python")
SHOWN = ("json", "markdown", "text", "toml", "yaml")
"""Languages of blocks that only show something."""
FOLLOWS = {"docs/adding-a-method.md": "README.md"}
"""Pages whose snippets go on with the names that another page's made."""
WITH_SNIPPETS = [page for page in pages() if any(b.needs is None and b.language in RUN for b in blocks(page))]


def snippets(page):
    return [block for block in blocks(page) if block.language == "python" and block.needs is None]


def execute(block, names):
    text = "\n" * (block.line - 1) + block.text
    exec(compile(text, str(ROOT / block.page), "exec", dont_inherit=True), names)


@pytest.mark.parametrize("page", WITH_SNIPPETS)
def test_a_page_runs_from_top_to_bottom(page, todre_command, capsys):
    """Its shell commands and Python snippets, in one folder and with one set of names."""
    names = {}
    if page in FOLLOWS:
        for block in snippets(FOLLOWS[page]):
            execute(block, names)
    for block in blocks(page):
        if block.needs is not None or block.language not in RUN:
            continue
        if block.language == "python":
            execute(block, names)
            continue
        for words in block.commands():
            assert words[0] == "todre", f"{block.place}: no test runs {words[0]!r}; say above the block what it needs"
            todre_command(words[1:])


@pytest.mark.parametrize("block", all_blocks(), ids=lambda block: block.place)
def test_a_block_says_what_it_is(block):
    assert block.language in (*RUN, *SHOWN), f"{block.place}: name the language of the block"
    assert block.needs is None or block.language in RUN, f"{block.place}: a marker above nothing that runs"
    if block.needs is not None:
        assert re.match(r"weights|time: .+|a GPU|a clone|lmms-eval|vLLM", block.needs), f"{block.place}: {block.needs}"


@pytest.mark.parametrize("page", pages())
def test_no_command_hides_in_an_indented_block(page):
    outside = re.sub(r"(?ms)^```.*?^```$", "", text_of(page))
    assert not re.search(r"(?m)^    (?:todre|make|pip|python|lmms-eval) ", outside), "fence it with ```sh"


def parsed(words):
    """What click makes of a todre command, which is not run: raises where an option or a value is refused."""
    group, context = command(), None
    while hasattr(group, "commands"):
        context = group.make_context(words[0], [], parent=context, resilient_parsing=True)
        group, words = group.commands[words[1]], words[1:]
    return group.make_context(words[0], list(words[1:]), parent=context)


def test_no_two_commands_write_to_one_place():
    """A reader runs the pages one after another in one folder, where a result is never replaced unasked."""
    places = {}
    for block in all_blocks():
        for words in block.commands() if block.language == "sh" else ():
            outputs = [value for option, value in pairwise(words) if option in ("--output", "--overlay", "--figure")]
            for output in outputs:
                if not output.startswith(("results/", "docs/")):  # made anew in a clone, as their pages say
                    places.setdefault(output, []).append(block.place)
    assert {output: where for output, where in places.items() if len(where) > 1} == {}


MARKED = [block for block in all_blocks() if block.needs is not None and block.language == "sh"]


@pytest.mark.parametrize("block", MARKED, ids=lambda block: block.place)
def test_a_marked_command_could_be_run(block):
    """Its options are those of today, its make target or module is there."""
    for words in block.commands():
        if words[0] == "todre":
            parsed(words)
        elif words[0] == "make":
            assert re.search(rf"(?m)^{words[1]}:", (ROOT / "Makefile").read_text()), words
        elif words[:2] == ["python", "-m"] and words[2].startswith("todre"):
            assert importlib.util.find_spec(words[2]), words
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), words
        else:
            assert words[0] in ("pip", "lmms-eval", "torchrun") or words[0].startswith(".venv/bin/"), words


def mentioned():
    """Commands inside the running text, and those of generated pages."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        inline = re.sub(r"(?ms)^```.*?^```$", "", text)
        fenced = "".join(re.findall(r"(?ms)^```[^\n]*\n(.*?)^```$", text))
        found = re.findall(r"`todre ([a-z][^`]*)`|^    todre ([a-z][^\n]*)$", inline, re.MULTILINE)
        for words in (*("".join(each) for each in found), *re.findall(r"(?m)^todre ([a-z][^\n]*)$", fenced)):
            yield path.relative_to(ROOT).as_posix(), " ".join(words.split())


def test_every_mentioned_command_has_the_options_that_it_is_written_with():
    count = 0
    for page, words in mentioned():
        group, rest = command(), words.split()
        while hasattr(group, "commands") and rest and rest[0] in group.commands:
            group, rest = group.commands[rest[0]], rest[1:]
        if hasattr(group, "commands"):
            assert not rest or rest[0] in ("…", "|"), f"{page}: there is no `todre {words}`"
            continue
        options = {flag for parameter in group.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word not in options | {"--help", "-h"}]
        assert not unknown, f"{page}: `todre {words}` has no {unknown[0]}"
        count += 1
    assert count > 60


def test_every_mentioned_make_target_is_there():
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for page in pages():
        named = set(re.findall(r"`make ([a-z-]+)", text_of(page)))
        assert named <= targets, page


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= 900
