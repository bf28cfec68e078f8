"""What cannot be merged in a vision tower is refused in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import flashlike
import pytest
import tinymodels as tm
import torch
from families.prompts import batch, ragged
from towers import (
    Scripted,
    built,
    features,
    pixels,
    state,
)

import todre
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.hf.families import family_of
from todre.methods.evit import EViT
from todre.methods.pixelprune import PixelPrune
from todre.methods.tome import ToMe
from todre.tower.hooks import TowerReduction


@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        ("llava-siglip", EViT(), "no \\[CLS\\] token"),
        ("llava-pixtral", ToMe(), "cannot be followed"),
        ("qwen2_5_vl", ToMe(), "packs its pictures into one sequence"),
        ("llava_next-mistral", PixelPrune(), "tiles of a fixed size"),
        ("video_llama_3", ToMe(), "was not found"),
    ],
)
def test_a_tower_that_cannot_be_reduced_is_refused(name, method, words):
    _, model = built(name)
    before = state(model)
    with pytest.raises(UnsupportedModelError, match=words) as raised:
        TowerReduction(model, family_of(model), method)
    assert state(model) == before
    assert str(raised.value).count(". ") == 0


def test_layers_that_do_not_count_are_refused():
    _, model = built("llava_next-mistral")
    with pytest.raises(InvalidValueError, match="of which 2 count"):
        TowerReduction(model, family_of(model), Scripted(after=(3,)))


def test_a_budget_that_the_layers_cannot_reach_is_refused():
    specimen, model = built("llava_next-mistral")
    with pytest.raises(InvalidValueError, match="can only get down to 4"):
        features(model, pixels(specimen, model), ToMe(retain=1))


def test_contradictory_answers_are_refused():
    specimen, model = built("llava_next-mistral")

    @dataclass(frozen=True, kw_only=True)
    class Uneven(Scripted):
        def scripted(self, layer, first, hidden):
            merging = super().scripted(layer, first, hidden)
            merging.keep[0, -1] = ~merging.keep[0, -1]
            return merging

    @dataclass(frozen=True, kw_only=True)
    class Astray(Scripted):
        def scripted(self, layer, first, hidden):
            merging = super().scripted(layer, first, hidden)
            merging.into[0, int((~merging.keep[0]).nonzero()[0])] = int((~merging.keep[0]).nonzero()[1])
            return merging

    with pytest.raises(InvalidValueError, match="keep as many in each"):
        features(model, pixels(specimen, model), Uneven())
    with pytest.raises(InvalidValueError, match="into one that is not kept"):
        features(model, pixels(specimen, model), Astray())


def test_flash_attention_cannot_weigh_merged_tokens():
    specimen, model = built("llava_next-mistral")
    given = pixels(specimen, model)
    expected, _ = features(model, given, ToMe(retain=0.5, proportional=False))
    with flashlike.flash_attention(model, model.config.vision_config):
        with pytest.raises(UnsupportedModelError, match="proportional=False"):
            features(model, given, ToMe(retain=0.5))
        got, _ = features(model, given, ToMe(retain=0.5, proportional=False))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_padding_that_the_tower_masks_is_refused():
    _, model = built("smolvlm")
    tower = model.base_model.vision_model
    reduction = TowerReduction(model, family_of(model), ToMe())
    pictures = torch.randn(1, 3, 36, 36)
    side = 36 // model.config.vision_config.patch_size
    mask = torch.ones(1, side, side, dtype=torch.bool)
    mask[:, -1] = False
    with pytest.raises(UnsupportedInputError, match="padded"), torch.no_grad(), reduction.encoding():
        tower(pixel_values=pictures, patch_attention_mask=mask)
    reduction.remove()


def test_recomputed_layers_are_refused():
    model = tm.build()
    given = tm.encode(model, tm.sample(model, 3, [tm.SIZES[0]], 3).pictures)
    model.train()
    model.base_model.vision_tower.gradient_checkpointing_enable()
    with pytest.raises(UnsupportedModelError, match="gradient checkpointing"):
        features(model, given, ToMe())


def test_a_layer_before_the_last_picture_features_is_refused_by_name():
    specimen, model = built("qwen3_vl")
    inputs = batch(specimen, model, ragged(specimen, model))
    with todre.prune(model, todre.FastV(layer=1, retain=0.5)), pytest.raises(UnsupportedInputError) as raised:
        model(**inputs)
    assert "set the layers of FastV from" in str(raised.value)
    assert str(raised.value).count(". ") == 0
