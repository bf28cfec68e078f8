"""Tables of a third-party run without cut-outs, which lack the saliency ViT."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "third_party_tables.py"
OF_CUTOUTS = ("ranks", "objects-10", "objects-2", "object-differences", "nearest", "linear")


@pytest.fixture
def tables():
    """The script that makes the tables."""
    spec = importlib.util.spec_from_file_location("third_party_tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def without_cutouts(tables, monkeypatch, tmp_path):
    """The tables of a run that had no cut-outs."""
    document = tables.read() | {"saliency_vit": None}
    monkeypatch.setattr(tables, "RESULT", tmp_path / "third-party.json")
    tables.RESULT.write_text(json.dumps(document), encoding="utf-8")
    return tables


@pytest.mark.parametrize("name", OF_CUTOUTS)
def test_a_table_of_a_run_without_cutouts_is_refused_in_one_sentence(without_cutouts, capsys, name):
    assert without_cutouts.main([name]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "third-party.json" in printed.err


def test_conditions_of_a_run_without_cutouts_leave_the_vit_out(tables, without_cutouts, capsys):
    for name in set(tables.TABLES) - {*OF_CUTOUTS, "conditions"}:
        assert without_cutouts.main([name]) == 0
    capsys.readouterr()
    assert without_cutouts.main(["conditions"]) == 0
    shown = capsys.readouterr().out
    assert "| packages | latex-ocr-junia 0.1.3 |" in shown
    assert f"| minutes: formulas | {tables.read()['conditions']['minutes']['latex']:g} |" in shown
    assert "scenes" not in shown.replace("bootstrap over formulas or scenes", "")
