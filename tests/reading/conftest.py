"""Folders of runs of `todre eval` whose answers are made up, with no model."""

import dataclasses
import json

import pytest
from played import ASKED, playing

from todre.evaluate.engine import run
from todre.evaluate.grid import grid
from todre.reading.results import read

RETAINS = (0.5, 0.1, 0.05)
METHODS = ("todre", "todre-v1", "random", "fastv", "evs", "vtw")


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """evaluated(methods, retains, **what is asked) → the folder of the run."""

    def make(methods=METHODS, retains=RETAINS, **asked):
        folder = tmp_path_factory.mktemp("evaluated") / "run"
        planned = grid(methods, retains, draws=2, forgiving=True)
        run(dataclasses.replace(ASKED, **asked), planned, folder, forgiving=True, start=playing)
        return folder

    return make


@pytest.fixture(scope="session")
def folder(evaluated):
    """Six methods, one of which refuses and one of which has no budget, at three budgets."""
    return evaluated()


@pytest.fixture(scope="session")
def results(folder):
    return read([folder])


@pytest.fixture
def document(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def of_two_costs(document, written):
    """The results, where `todre`, `random` and `todre-v1` carry their budget and `fastv` 5.1 % more."""
    before = document["rows"][0]["visual_tokens"]
    for row in document["rows"]:
        if row["retain"] is None:
            row["layer_mean"] = before
        else:
            row["layer_mean"] = row["retain"] * before * (1.051 if row["name"] == "fastv" else 1.049)
    return read([written(document)])


@pytest.fixture
def written(tmp_path):
    """written(document, name) → a file that holds it."""

    def write(document, name="result.json"):
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write
