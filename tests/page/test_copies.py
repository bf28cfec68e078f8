"""What can be copied: a command that the command line takes as it is meant, and Python that runs."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.page.copies import Running, command, copied, snippet
from todre.page.wish import Wish

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).filter(str.strip)


def taken(line):
    """What `todre compare` would be called with."""
    from todre.cli.app import command as application

    group = application()
    parent = group.make_context("todre", ["compare"])  # from which a command has its names of --help
    return group.commands["compare"].make_context("compare", shlex.split(line)[2:], parent=parent).params


@settings(max_examples=40, deadline=None)
@given(question=TEXTS, file=TEXTS)
def test_compare_reads_question_and_file_as_they_were(question, file):
    wish = Wish(question=question, methods=("none", "todre"), share=1.0, picture="")
    found = taken(command(wish, Running(model="some/model", device="cpu", dtype="float32"), file))
    assert (found["image"], found["question"]) == (file, question)
    assert found["methods"] == "none,todre"
    assert (type(found["retain"]), found["retain"]) == (float, 1.0)
    assert (found["warm_up"], found["repeats"], found["max_new_tokens"]) == (0, 1, 64)
    assert (found["model"], found["device"], found["dtype"]) == ("some/model", "cpu", "float32")


def test_the_model_is_loaded_as_the_pages_is():
    running = Running(model="some/model", attn_implementation="eager", trust_remote_code=True)
    found = taken(command(Wish(picture=""), running, "a.png"))
    assert (found["attn_implementation"], found["trust_remote_code"]) == ("eager", True)
    assert running.arguments() == "'some/model', attn_implementation='eager', trust_remote_code=True"
    found = taken(command(Wish(picture=""), Running(), "a.png"))
    assert (found["attn_implementation"], found["trust_remote_code"]) == (None, False)
    assert Running().arguments() == ""


@pytest.mark.parametrize("kind", ["", "video"])
def test_methods_that_do_not_apply_are_not_copied(kind):
    wish = Wish(methods=("none", "ivc-prune", "todre"), picture="")
    texts = copied(wish, ["none", "todre"], Running(), "a.png", kind)
    left = Wish(methods=("none", "todre"), picture="")
    assert texts == [command(left, Running(), "a.png", kind), snippet(left, Running(), "a.png", kind)]
    assert "ivc-prune" not in "".join(texts)
    assert copied(wish, [], Running(), "a.png", kind) == ["", ""]


def test_no_share_where_no_method_has_one():
    assert "--retain" not in command(Wish(methods=("vtw",)), Running(), "")
    assert "--retain 0.1" in command(Wish(methods=("vtw", "todre")), Running(), "")


def test_an_example_is_written_first():
    first, second = command(Wish(picture="coffee"), Running(), "ignored.png").splitlines()
    assert shlex.split(first)[:2] == ["python", "-c"]
    assert shlex.split(second)[2] == "coffee.png"


@pytest.mark.parametrize("picture", ["", "scene", "coffee"])
def test_the_python_compiles_and_names_what_was_asked(picture):
    wish = Wish(question='Is "it"\nred?', picture=picture)
    text = snippet(wish, Running(model="a'b", device="cuda:0"), "it's.png")
    compile(text, "snippet", "exec")
    assert repr(wish.question) in text
    assert repr("a'b") in text
    assert "device='cuda:0'" in text
    assert (repr("it's.png") in text) == (not picture)
