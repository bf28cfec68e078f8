"""attn_implementation as people set it: per part, while attached, FlexAttention."""

from __future__ import annotations

import loaded
import pytest
import tinymodels as tm
import torch
from families.checks import METHODS, generate
from families.prompts import batch, ragged
from families.specimens import all_specimens
from flexlike import uncompiled_flex

import todre
from todre.errors import UnsupportedInputError


@pytest.fixture
def flex(monkeypatch):
    with uncompiled_flex(monkeypatch):
        yield "flex_attention"


@pytest.fixture(scope="module")
def inputs():
    return tm.ragged(tm.build(layers=loaded.LAYERS))


@pytest.mark.parametrize("kind", ["next-llama", "llava"])
@pytest.mark.parametrize("method", [loaded.BOTH, loaded.FIRST], ids=["both-stages", "stage-1"])
def test_flex_attention_equals_sdpa(flex, kind, method):
    """FlexAttention takes block masks of the shortened lengths, in prefill and in decoding."""
    reference = tm.build(kind, layers=loaded.LAYERS)
    inputs = tm.ragged(reference)
    expected = loaded.pruned(reference, inputs, method)
    got = loaded.pruned(tm.build(kind, flex, layers=loaded.LAYERS), inputs, method)
    assert got.report.kept == expected.report.kept
    assert got.report.dropped_after_layer == expected.report.dropped_after_layer
    loaded.assert_same(got, expected, inputs)


def test_flex_attention_that_keeps_all_changes_no_bit(flex, inputs):
    model = tm.build(backend=flex, layers=loaded.LAYERS)
    expected = loaded.run(model, inputs)
    got = loaded.pruned(model, inputs, todre.ToDRE(retain=1.0, threshold=0.0))
    assert torch.equal(got.logits, expected.logits)
    assert torch.equal(got.tokens, expected.tokens)


@pytest.mark.parametrize("name", METHODS)
def test_flex_attention_that_looks_ahead_is_refused(flex, name):
    """PaliGemma's prompts see themselves whole, which a block mask of what is left would not say."""
    specimen = next(one for one in all_specimens() if one.name == "paligemma")
    model = specimen.build(flex)
    prompts = batch(specimen, model, ragged(specimen, model, "image"))
    with todre.prune(model, METHODS[name]), pytest.raises(UnsupportedInputError, match=r"within pictures.*'sdpa'"):
        generate(model, prompts)


@pytest.mark.parametrize("backends", [("sdpa", "eager"), ("eager", "sdpa")])
def test_parts_with_backends_of_their_own(inputs, backends):
    decoder, tower = backends
    model = tm.build(layers=loaded.LAYERS)
    model.set_attn_implementation({"text_config": decoder, "vision_config": tower})
    assert model.get_decoder().config._attn_implementation == decoder
    assert model.model.vision_tower.config._attn_implementation == tower
    got = loaded.pruned(model, inputs)
    loaded.assert_same(got, loaded.masked(model, model, inputs, got.report), inputs)


def test_the_backend_can_change_while_attached(inputs):
    model = tm.build(layers=loaded.LAYERS)
    with todre.prune(model, loaded.BOTH):
        first = loaded.run(model, inputs)
        model.set_attn_implementation("eager")
        loaded.assert_same(loaded.run(model, inputs), first, inputs)
