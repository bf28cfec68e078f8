"""What `make docs` adds to docs/: pages of the repository's root, and the files outside docs/ that pages link to.

README.md is the start page. A link is written as it works in the repository; here it is made to work in the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Pages by their path in the repository, and where they stand in docs/."""
_LINK = re.compile(r"(\]\()([^)\s#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and every file outside docs/ that a page links to."""
    for source, place in ROOT_PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    pages = [(file.src_uri, file.content_string) for file in files if file.src_uri.endswith(".md")]
    linked = {path for place, text in pages for _, target in _LINK.findall(text) if (path := _outside(target, place))}
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let the links of a page point into the site."""
    place = page.file.src_uri
    return _LINK.sub(lambda found: found[1] + _in_site(found[2], place), markdown)


def _in_site(target: str, place: str) -> str:
    """A link of the page at `place` in docs/, as it is written in the site."""
    path = _in_repository(target, place)
    if path in ROOT_PAGES:
        there = ROOT_PAGES[path]
    elif _outside(target, place):
        there = f"files/{path}"
    elif path.startswith("docs/"):
        there = path.removeprefix("docs/")
    else:
        return target
    return posixpath.relpath(there, posixpath.dirname(place) or ".")


def _outside(target: str, place: str) -> str | None:
    """The path of a linked file that stands outside docs/, or None."""
    path = _in_repository(target, place)
    outside = not path.startswith("docs/") and path not in ROOT_PAGES
    return path if outside and (ROOT / path).is_file() else None


def _in_repository(target: str, place: str) -> str:
    """The path in the repository that a relative link leads to; empty for a link to somewhere else."""
    if re.match(r"[a-z]+:|/", target):
        return ""
    source = {there: page for page, there in ROOT_PAGES.items()}.get(place, f"docs/{place}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
