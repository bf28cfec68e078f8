"""The tutorial runs from top to bottom on the shipped model, and prints what its stored outputs say."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
CELLS = [each for each in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if each["cell_type"] == "code"]


def _stored(cell):
    """What a cell printed on stdout when the notebook was made."""
    return "".join("".join(each["text"]) for each in cell["outputs"] if each.get("name") == "stdout")


def test_it_runs_and_prints_what_is_stored():
    names = {}
    for number, cell in enumerate(CELLS):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            text = "".join(cell["source"])
            exec(compile(text, f"{NOTEBOOK.name}, cell {number}", "exec", dont_inherit=True), names)
        assert printed.getvalue() == _stored(cell), f"cell {number} prints otherwise now; run: make notebook"


@pytest.mark.parametrize("cell", CELLS, ids=range(len(CELLS)))
def test_every_cell_was_run_without_a_word_on_stderr(cell):
    assert cell["execution_count"] is not None, "run: make notebook"
    assert not [each for each in cell["outputs"] if each.get("name") == "stderr" or each["output_type"] == "error"]


def test_it_shows_its_three_pictures():
    shown = [each for cell in CELLS for each in cell["outputs"] if "image/png" in each.get("data", {})]
    assert len(shown) == 3
