"""The pages of the reference promise every public name; `make docs` checks that they are built."""

from __future__ import annotations

import importlib
import re

import pytest
from docs.pages import ROOT, text_of

import todre
from todre import errors
from todre.methods import registry

ROOMS = (
    *("todre.clips", "todre.flops", "todre.lmms", "todre.pages", "todre.processing"),
    *("todre.scenes", "todre.select", "todre.smol"),
    "todre.tiny",
)
"""Rooms whose `__all__` the reference promises whole."""


def promised():
    """The dotted names that pages hand to mkdocstrings."""
    found = (ROOT / "docs" / "reference").glob("*.md")
    pages = [text_of(path.relative_to(ROOT)) for path in found]
    return {name for text in pages for name in re.findall(r"(?m)^::: ([\w.]+)$", text)}


def public(module):
    """What a room exports, but for constants."""
    return {f"{module.__name__}.{name}" for name in module.__all__ if not name.isupper() and not name.startswith("__")}


def methods():
    return {f"{cls.__module__}.{name}" for name, cls in registry.classes().items()}


def raised():
    here = {
        name for name, each in vars(errors).items() if isinstance(each, type) and each.__module__ == errors.__name__
    }
    return {f"todre.errors.{name}" for name in here}


def test_the_package_is_promised():
    homes = {f"todre.{name}" for name in registry.classes()}
    assert public(todre) - promised() - homes == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_promised(room):
    assert public(importlib.import_module(room)) - promised() == set()


def test_every_method_and_error_is_promised():
    assert methods() - promised() == set()
    assert raised() - promised() == set()


def test_every_method_is_on_its_page():
    page = text_of("docs/methods.md")
    assert [name for name in registry.names() if f"\n## {name}\n" not in page] == []
