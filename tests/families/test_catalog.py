"""The table of `todre models`: every architecture of the auto class has a row, verified or refused with a reason."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

import todre
from todre.catalog import CHECKS, rows
from todre.errors import UnsupportedModelError
from todre.hf.families import CLS_FAMILIES, FAMILIES
from todre.hf.refused import REFUSED


def test_transformers_has_no_architecture_without_a_row():
    unknown = [row.model_type for row in rows() if row.status == "unknown"]
    assert not unknown, f"transformers added {unknown}: verify or refuse each (docs/families.md)"


def test_the_table_holds_nothing_else():
    known = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert {row.model_type for row in rows()} == known
    assert not set(FAMILIES) & set(REFUSED)
    assert set(FAMILIES) | set(REFUSED) <= known
    assert set(FAMILIES) >= CLS_FAMILIES


def test_rows_say_what_was_checked_or_why_not():
    for row in rows():
        facts = row.to_dict()
        assert facts["checks"] == (list(CHECKS) if row.status == "verified" else [])
        assert row.status == "verified" or row.note
        assert row.note.count("\n") == 0
        assert not row.note.endswith(".")
    assert sum(row.status == "verified" for row in rows()) >= 30


@pytest.mark.parametrize("model_type", sorted(REFUSED))
def test_a_refused_family_is_refused_by_name(model_type):
    """Before anything is looked at but the config: no weights are needed to see it."""
    config = AutoConfig.for_model(model_type)
    architecture = AutoModelForImageTextToText._model_mapping[type(config)]
    model = architecture.__new__(architecture)
    torch.nn.Module.__init__(model)
    model.config = config
    with pytest.raises(UnsupportedModelError, match=f"'{model_type}' cannot be pruned: ") as caught:
        todre.attach(model, todre.ToDRE())
    assert REFUSED[model_type] in str(caught.value)


def test_an_architecture_newer_than_the_table_is_refused(monkeypatch):
    monkeypatch.setattr("todre.catalog._known", lambda: {"brand_new": "BrandNewForConditionalGeneration"})
    assert [(row.model_type, row.status) for row in rows()] == [("brand_new", "unknown")]
    monkeypatch.delitem(FAMILIES, "llava")
    from families.zoo.llava import build

    with pytest.raises(UnsupportedModelError, match=r"'llava' are not known.*docs/families\.md"):
        todre.attach(build("sdpa"), todre.ToDRE())
