"""What `make docs` built: every public name is in the reference, and no page asks another host for anything.

Names are read from the inventory that mkdocstrings writes, in which other projects find what they link to.
"""

from __future__ import annotations

import importlib
import re
import zlib
from pathlib import Path

import pytest

import todre
from todre import errors
from todre.methods import registry

SITE = Path(__file__).parents[3] / "site"
ROOMS = ("todre.clips", "todre.flops", "todre.lmms", "todre.processing", "todre.scenes", "todre.select", "todre.tiny")
"""Rooms whose `__all__` the reference promises whole."""


@pytest.fixture(scope="module")
def documented():
    """The dotted names in the built reference."""
    body = (SITE / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(body).decode().splitlines()}


def _public(module):
    """What a room exports, but for constants."""
    return {f"{module.__name__}.{name}" for name in module.__all__ if not name.isupper() and not name.startswith("__")}


def test_the_package_is_documented(documented):
    assert _public(todre) - documented == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_documented(documented, room):
    assert _public(importlib.import_module(room)) - documented == set()


def test_every_method_is_documented(documented):
    classes = {f"{cls.__module__}.{name}" for name, cls in registry.classes().items()}
    assert classes - documented == set()
    page = (SITE / "methods" / "index.html").read_text(encoding="utf-8")
    assert [name for name in registry.names() if f">{name}<" not in page] == []


def test_every_error_is_documented(documented):
    raised = {
        name for name, each in vars(errors).items() if isinstance(each, type) and each.__module__ == errors.__name__
    }
    assert {f"todre.errors.{name}" for name in raised} - documented == set()


def test_no_page_loads_anything_from_another_host():
    pages = list(SITE.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//", text), page
        assert not re.search(r"<link[^>]*rel=\"(?:stylesheet|preconnect)\"[^>]*href=\"(?:https?:)?//", text), page
