"""Whole tiles left out before the tower: layers run on the others alone, which are as if nothing were missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from families.checks import generate
from families.prompts import batch, ragged
from methods import matrix
from towers import built, features, pixels, state

import todre
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.hf.attention_tap import attention_modules
from todre.hf.families import family_of
from todre.methods.base import Method, budget
from todre.methods.card import Card
from todre.methods.compose import Compose
from todre.methods.crop_skip import CropSkip
from todre.tower.hooks import TowerReduction
from todre.tower.tiles import cuts_of, in_thumbnail

MODELS = ("llava_next-llama", "llava_onevision")


@dataclass(frozen=True, kw_only=True)
class Drawn(Method):
    """Keeps random crops, and thumbnails if told."""

    thumbnails: bool = True
    card: ClassVar[Card] = Card(acts=("tower",), needs=("crops",))

    def tower_after(self, n_layers):
        return (0,)

    def choose_tiles(self, tiles):
        keep = torch.rand(len(tiles.pixels), generator=torch.Generator().manual_seed(1)) < 0.5
        keep[firsts(tiles.cuts)] = self.thumbnails
        return keep


def firsts(cuts):
    return [sum(cut.tiles for cut in cuts[:place]) for place in range(len(cuts))]


def tower_states(model, given, method=None, cuts=None):
    """The tower's hidden states of all tiles, how many tiles each layer's attention ran on, and what is told of it."""
    found, widths = {}, []
    tower = model.base_model.vision_tower
    handles = [tower.register_forward_hook(lambda m, a, output: found.update(output=output))]
    for module in attention_modules(tower):
        handles.append(module.register_forward_hook(lambda m, a, k, out: widths.append(len(out[0])), with_kwargs=True))
    reported = []
    if method is None:
        features(model, given | {"output_hidden_states": True})
    else:
        reduction = TowerReduction(model, family_of(model), method)
        with torch.no_grad(), reduction.encoding(cuts):
            model.base_model.get_image_features(**given, output_hidden_states=True)
            reported = [torch.cat(reduction.alive()), reduction.layer_lengths()]
        reduction.remove()
    for handle in handles:
        handle.remove()
    return found["output"].hidden_states, widths, reported


@pytest.mark.parametrize("name", MODELS)
def test_tiles_that_stay_are_as_they_were_and_the_others_show_the_thumbnail(name):
    specimen, model = built(name)
    given = pixels(specimen, model)
    cuts = cuts_of(model.config, given)
    whole, all_tiles, _ = tower_states(model, given)
    got, widths, (alive, (ran,)) = tower_states(model, given, Drawn(), cuts)
    kept, start = alive[:, 0] > 0, 0
    left, tiles = int(kept.sum()), len(kept)
    assert 3 < left < tiles
    assert set(all_tiles) == {tiles}
    assert set(widths) == {left}
    assert ran == [[whole[0].shape[1]] * left] * len(widths)
    first = whole[0].shape[1] - alive.shape[1]
    side = int(alive.shape[1] ** 0.5)
    for layer in range(len(whole)):
        torch.testing.assert_close(got[layer][kept], whole[layer][kept], atol=1e-5, rtol=0)
    for cut in cuts:
        shown = torch.cat([torch.zeros(cut.tiles - 1, first).long(), in_thumbnail(cut, side) + first], dim=1)
        for crop in range(1, cut.tiles):
            if not kept[start + crop]:
                assert torch.equal(got[-1][start + crop], got[-1][start, shown[crop - 1]])
        start += cut.tiles


@pytest.mark.parametrize("name", MODELS)
def test_a_ragged_batch_equals_its_singles_and_budgets_follow(name):
    specimen, model = built(name)
    method = CropSkip(retain=0.4)
    inputs, report, _ = matrix.agrees_with_itself(specimen, model, method)
    left = report.visual_tokens_after
    assert any(0 < after < before for after, before in zip(left, report.visual_tokens_before, strict=True))
    both = Compose(method, todre.ToDRE(retain=0.3, stages=(1,)))
    with todre.prune(model, both) as report:
        generate(model, inputs, max_new_tokens=1)
    assert report.visual_tokens_after == [budget(0.3, count) if count else 0 for count in left]


def test_crops_that_all_stay_change_no_bit():
    for name in MODELS:
        specimen, model = built(name)
        matrix.keeps_all(model, batch(specimen, model, ragged(specimen, model)), CropSkip(retain=1.0))


@pytest.mark.parametrize("name", ["llava_next_video", "llava_onevision"])
def test_clips_have_no_thumbnail_and_stay_whole(name):
    specimen, model = built(name)
    matrix.keeps_all(model, batch(specimen, model, ragged(specimen, model, "video")), CropSkip(retain=1))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    specimen, model = built("llava_next-llama")
    inputs = batch(specimen, model, ragged(specimen, model))
    expected = generate(model, inputs, max_new_tokens=1).logits[0]
    before = state(model)
    if fails:
        with (
            pytest.raises(InvalidValueError, match="True for all thumbnails"),
            todre.prune(model, Drawn(thumbnails=False)),
        ):
            generate(model, inputs, max_new_tokens=1)
    else:
        with todre.prune(model, Drawn()):
            assert not torch.equal(generate(model, inputs, max_new_tokens=1).logits[0], expected)
    assert state(model) == before
    assert torch.equal(generate(model, inputs, max_new_tokens=1).logits[0], expected)


def test_tiles_of_other_pictures_are_refused():
    specimen, model = built("llava_next-llama")
    given = pixels(specimen, model)
    reduction = TowerReduction(model, family_of(model), CropSkip())
    wrong = reduction.encoding(cuts_of(model.config, given)[:-1])
    with pytest.raises(UnsupportedInputError, match="tiles that the pictures' sizes make"), wrong, torch.no_grad():
        model.base_model.get_image_features(**given)
    reduction.remove()


@pytest.mark.parametrize("name", ["internvl-qwen2", "qwen2_vl", "llava"])
def test_pictures_without_a_known_thumbnail_are_refused(name):
    _, model = built(name)
    before = state(model)
    with pytest.raises(UnsupportedModelError, match="not known to be cut"):
        TowerReduction(model, family_of(model), CropSkip())
    assert state(model) == before
