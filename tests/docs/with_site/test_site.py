"""What `make docs` built: every promised name is in it, and no page asks another host for anything.

Names are read from the inventory that mkdocstrings writes, in which other projects find what they link to.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from urllib.parse import unquote

from docs import test_reference as reference

SITE = Path(__file__).parents[3] / "site"


def documented():
    """The dotted names in the built reference."""
    body = (SITE / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(body).decode().splitlines()}


def test_every_promised_name_is_built():
    assert reference.promised() - documented() == set()


def test_every_page_of_the_reference_says_something():
    for page in (SITE / "reference").glob("*/index.html"):
        assert len(re.findall(r"<p>", page.read_text(encoding="utf-8"))) > 5, page


def test_no_page_loads_anything_from_another_host():
    pages = list(SITE.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//", text), page
        assert not re.search(r"<link[^>]*rel=\"(?:stylesheet|preconnect)\"[^>]*href=\"(?:https?:)?//", text), page


def test_no_link_within_the_site_is_broken():
    """Also those of the tutorial, which mkdocs does not look at; what a script writes is no link yet."""
    for page in SITE.rglob("*.html"):
        if page.name == "404.html":
            continue
        text = re.sub(r"<script\b.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"<(?:a|img|link)[^>]*\s(?:href|src)=\"([^\"#?]+)", text):
            if not re.match(r"[a-z]+:", link):
                target = page.parent / unquote(link)
                assert target.exists() or (target / "index.html").is_file(), f"{page}: {link}"
