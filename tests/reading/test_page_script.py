"""The page's own script: how tables are sorted, by Node.js where it is installed."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import todre.onepage

SCRIPT = Path(todre.onepage.__file__).with_name("page.js")
NODE = shutil.which("node")


def call(name, *cases):
    """What a function of the script gives for each case."""
    program = (
        f"const {{{name}}} = require({json.dumps(str(SCRIPT))});"
        "const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"console.log(JSON.stringify(cases.map((each) => {name}(...each))));"
    )
    done = subprocess.run([NODE, "-e", program], input=json.dumps(cases), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_rows_are_sorted_as_python_sorts_them():
    rng = random.Random(0)
    lists = [[rng.choice([None, "-1.5", "0", "2", "10", "1e3"]) for _ in range(rng.randrange(9))] for _ in range(60)]
    lists += [[rng.choice([None, "todre", "random", "9", "10", "Ä"]) for _ in range(8)] + ["word"] for _ in range(20)]
    cases = [(values, down) for values in lists for down in (False, True)]
    for (values, down), places in zip(cases, call("order", *cases), strict=True):
        words = "word" in values
        known = [place for place, value in enumerate(values) if value is not None]
        key = (lambda place, of=values: of[place]) if words else (lambda place, of=values: float(of[place]))
        expected = sorted(known, key=key)
        if down:  # the largest first, equal ones in their order
            expected = sorted(known, key=key, reverse=True)
        missing = [place for place, value in enumerate(values) if value is None]
        assert places == expected + missing, (values, down)


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_a_heading_goes_down_up_and_back():
    assert call("nextSort", ("none", True), ("descending", True), ("ascending", True)) == [
        "descending", "ascending", "none",
    ]  # fmt: skip
    assert call("nextSort", ("none", False), ("ascending", False), ("descending", False)) == [
        "ascending", "descending", "none",
    ]  # fmt: skip
    assert call("isNumeric", (["1", None],), (["1", "x"],), ([""],)) == [True, False, False]
