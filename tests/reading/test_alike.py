"""Runs whose answers were made under other conditions do not stand in one table."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from played import ASKED, playing

from todre.errors import InvalidValueError
from todre.evaluate.engine import run as evaluate
from todre.evaluate.grid import grid
from todre.reading.formats import to_csv
from todre.reading.results import read
from todre.reading.tables import table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alike") / "run"
    evaluate(ASKED, grid(["todre", "random"], [0.5, 0.1], draws=1), folder, start=playing, against=("random",))
    return folder


@pytest.mark.parametrize(("name", "value"), [("guard", {"action": "refuse"}), ("group_size", 99)])
def test_other_conditions_are_refused(folder, tmp_path, name, value):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    document = json.loads((other / "result.json").read_text())
    document["conditions"][name] = value
    for row in document["rows"][1:]:
        row["name"] += "-again"
    (other / "result.json").write_text(json.dumps(document))
    with pytest.raises(InvalidValueError, match=f"were run with different {name}"):
        read([folder, other])
    document["conditions"]["model_sha256"] = "0" * 64  # another model, which may have been run in its own way
    (other / "result.json").write_text(json.dumps(document))
    assert len(read([folder, other]).conditions) == 2


def test_a_csv_names_what_differences_are_from(folder):
    for found, reference in ((read([folder]), "none"), (read([folder]).against("random"), "random")):
        made = table(found, "difference")
        rows = list(csv.DictReader(io.StringIO(to_csv(made))))
        assert rows
        assert {row["against"] for row in rows} == {reference}
        for row in rows:
            assert row["differs"] == str(not float(row["low"]) <= 0 <= float(row["high"])).lower()
