"""The pages of the documentation as the tests here read them: blocks of code, and what each needs.

A block that no test can run stands under a marker,
`<!-- needs weights -->`, `<!-- needs time: two hours -->`, or the like.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = (
    "cli",
    "methods",
    "leaderboard",
    "leaderboard-smol",
    "leaderboard-smol-1",
    "leaderboard-smol-pages",
    "results",
    "model-card",
    "smol-card",
    "smol-1-card",
)
"""Pages of docs/ that commands write; tests beside those commands look after them."""
_BLOCK = re.compile(r"(?:^<!-- needs ([^\n]+?) -->\n)?^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: relative to the repository's root.
        line: of its first line of text, from 1.
        language: as written behind the fence.
        needs: what the marker above it says; None without one.
    """

    page: str
    line: int
    language: str
    text: str
    needs: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


@cache
def pages() -> tuple[str, ...]:
    """Pages that are written by hand, README.md first."""
    found = sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))
    by_hand = [path for path in found if not (len(path.parts) == 2 and path.stem in GENERATED)]
    return ("README.md", "CONTRIBUTING.md", *(path.as_posix() for path in by_hand))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = text_of(page)
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[2], found[3], found[1])
        for found in _BLOCK.finditer(text)
    ]


def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]
