"""Every registered method on every family of the matrix: the same checks for all."""

from __future__ import annotations

import json

import pytest
from families.prompts import batch, ragged
from families.specimens import model_of
from methods import matrix

import todre
from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.methods import registry
from todre.methods.base import budget

CASES = [(name, family) for family in matrix.FAMILIES for name in registry.names() if name != "none"]


@pytest.mark.parametrize(("name", "family"), CASES)
def test_method_on_family(name, family):
    specimen, model = matrix.specimen_of(family), model_of(family, "sdpa")
    method = matrix.method_of(name)
    inputs = batch(specimen, model, ragged(specimen, model))
    if family in matrix.REFUSED.get(name, ()):
        matrix.generate(model, inputs, max_new_tokens=1)
        refused = pytest.raises((UnsupportedModelError, UnsupportedInputError))
        with matrix.untouched_after(model), refused, todre.prune(model, method):
            matrix.generate(model, inputs, max_new_tokens=1)
        return
    everything = matrix.everything(name)
    if everything is not None:
        matrix.keeps_all(model, inputs, everything)
    inputs, report, got = matrix.agrees_with_itself(specimen, model, method)
    if name != "pixelprune":  # no patch of a random picture equals its neighbour
        last = [counts[-1] for counts in report.visual_tokens_per_layer]
        assert any(count < n for count, n in zip(last, report.visual_tokens_before, strict=True))
    if matrix.is_exact(name):
        expected = [budget(0.3, n) if n else 0 for n in report.visual_tokens_before]
        assert [counts[-1] for counts in report.visual_tokens_per_layer] == expected
    if name not in matrix.MERGING:
        matrix.hides_what_it_dropped(specimen, matrix.eager_of(family), inputs, report, got)
    matrix.decodes_as_it_recomputes(specimen, model, method)


@pytest.mark.parametrize("name", registry.names())
def test_card_says_what_a_method_is(name):
    entry = registry.entry(name)
    assert entry.summary
    assert len(entry.summary) <= 70
    assert entry.card.budget
    if name not in ("none",):
        assert entry.card.acts
        assert entry.cls.__doc__


@pytest.mark.parametrize("name", registry.names())
def test_config_round_trip(name, tmp_path):
    method = matrix.method_of(name)
    assert registry.from_dict(json.loads(json.dumps(method.to_dict()))) == method
    registry.save(method, tmp_path / "method.json")
    assert registry.load(tmp_path / "method.json") == method


@pytest.mark.parametrize("name", ["evs", "history", "vidcom2"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava_next_video", "llava_onevision"])
def test_method_for_clips(name, family):
    specimen, model = matrix.specimen_of(family), model_of(family, "sdpa")
    inputs = batch(specimen, model, ragged(specimen, model, "video"))
    matrix.keeps_all(model, inputs, matrix.everything(name))
    method = matrix.method_of(name)
    inputs, report, got = matrix.agrees_with_itself(specimen, model, method, "video")
    budgets = [round(0.3 * n) for n in report.visual_tokens_before]
    assert [counts[-1] for counts in report.visual_tokens_per_layer] == budgets
    matrix.hides_what_it_dropped(specimen, matrix.eager_of(family), inputs, report, got)
    matrix.decodes_as_it_recomputes(specimen, model, method, "video")
