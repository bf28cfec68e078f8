"""What docs/upstream says of vLLM is so: each reproduction is run, and prints what its comments say."""

import contextlib
import io
import re

import pytest
from docs.pages import ROOT, blocks

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "upstream").glob("vllm-*.md"))
_PRINTS = re.compile(r"print\(.*\)  # (\S+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_a_reproduction_prints_what_it_says(page):
    (block,) = [each for each in blocks(page) if each.language == "python"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block.text, block.place, "exec"), {"__name__": "reproduction"})
    said = [each.rstrip(",") for each in _PRINTS.findall(block.text)]
    assert said
    assert [line.split()[0] for line in out.getvalue().splitlines()] == said
