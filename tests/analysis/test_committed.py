"""The committed results are of the committed model, and their numbers follow from their records."""

import json
from pathlib import Path

import numpy as np
import pytest

import todre
from todre.analysis import calibrate, horizon, migration, redundancy
from todre.analysis import selections as kept
from todre.analysis.drop_records import Goal
from todre.analysis.results import Measured
from todre.evaluate.runner import model_sha256

ROOT = Path(__file__).parents[2]
NAMES = ("migration", "horizon", "redundancy", "calibrate", "kept")


def document(name):
    return json.loads((ROOT / f"results/analysis-{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_they_are_of_the_model_that_ships_and_shown_in_the_docs(name):
    found = document(name)
    assert found["conditions"]["model"]["sha256"] == model_sha256(None)
    assert found["conditions"]["questions"]["questions"] == len(found["records"])
    page = (ROOT / "docs/analysis.md").read_text()
    assert f"(figures/analysis-{name}.png)" in page
    assert f"results/analysis-{name}.json" in page
    assert found["command"] in page
    assert (ROOT / f"docs/figures/analysis-{name}.png").stat().st_size > 10_000


def rebuilt(name, found):
    measured = Measured(found["records"], found["conditions"])
    if name == "migration":
        return migration.document(measured, [row["layer"] for row in found["layers"]], found["command"])
    if name == "redundancy":
        return redundancy.document(measured, found["command"])
    method = todre.ToDRE.from_dict(found["conditions"]["parameters"]["method"])
    goal = Goal(method, found["loss_allowed"], tuple(found["conditions"]["parameters"]["layers"]))
    return calibrate.document(found["records"], goal, found["decoder_layers"])


@pytest.mark.parametrize("name", ["migration", "redundancy", "calibrate"])
def test_numbers_follow_from_the_records(name):
    found = document(name)
    for key, value in rebuilt(name, found).items():
        assert value == found[key], key


def test_horizons_follow_from_the_curves_and_these_from_the_records():
    found = document("horizon")
    layers = tuple(found["conditions"]["parameters"]["layers"])
    probe = horizon.Probe(layers, found["window"], tolerance=found["tolerance"])
    again = horizon.document(Measured(found["records"], found["conditions"]), probe, found["command"])
    assert again == found
    for values in found["tasks"].values():
        assert values["horizon"] == horizon.first_within([point["mean"] for point in values["largest"]], probe)
    everything = found["tasks"]["all"]["largest"]
    for point in everything:
        ones = [record["layers"][str(point["layer"])] for record in found["records"]]
        largest = [max(abs(one["largest"]), abs(one["smallest"])) for one in ones]
        assert point["mean"] == pytest.approx(np.mean(largest), abs=1e-5)


def test_agreement_follows_from_the_tokens():
    found = document("kept")
    assert kept.overlaps(found["records"]) == found["overlap"]


def test_no_visual_token_sees_the_question():
    for row in document("migration")["layers"]:
        assert row["prefill"]["visual_to_text"] == {"n": 120, "mean": 0.0, "low": 0.0, "high": 0.0}
