"""`todre models`."""

import json

from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN


def test_every_architecture_is_listed(run):
    result = run("models", "--json")
    assert result.code == 0
    rows = json.loads(result.out)
    assert [row["model_type"] for row in rows] == sorted(KNOWN)
    assert {row["status"] for row in rows} == {"verified", "refused"}
    assert all(row["checks"] if row["status"] == "verified" else row["note"] for row in rows)


def test_a_name_narrows_the_table(run):
    result = run("models", "qwen2-5")
    assert result.code == 0
    assert "qwen2_5_vl" in result.out
    assert "llava" not in result.out
    assert "bits of the untouched model" in result.out


def test_a_name_that_nothing_holds(run):
    result = run("models", "nonesuch")
    assert (result.code, result.out) == (2, "")
    assert "'nonesuch'" in result.err
    assert "Traceback" not in result.err
