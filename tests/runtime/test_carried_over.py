"""What cannot be carried over to a shorter prompt is carried over exactly, or refused in a sentence: never half."""

from __future__ import annotations

import warnings

import flashlike
import pytest
import tinymodels as tm
import torch
from families.prompts import batch, ragged
from flexlike import uncompiled_flex
from towers import built
from transformers import DynamicCache, StaticCache
from upstream import CACHE

import todre
from todre.errors import UnprunedWarning, UnsupportedInputError

STAGE_1 = todre.ToDRE(retain=0.2, stages=(1,))
COMPACT = todre.ToDRE(retain=0.2, stages=(1,), positions="compact")


def cached(model, static=False):
    config = model.config.get_text_config(decoder=True)
    return StaticCache(config=config, max_cache_len=400) if static else DynamicCache(config=config)


def turn(model, seed, before=5):
    made = tm.batch(model, [tm.sample(model, before, [tm.SIZES[0]], 6, seed=seed)])
    return {name: x for name, x in made.items() if name != "attention_mask"}


@torch.no_grad()
@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("left", ["before the picture", "in the picture", "after the picture"])
def test_compact_positions_follow_a_cache_that_is_rolled_back(turns, left):
    """The last turn is cropped to a length at, in or behind its picture; what comes next is as if it ended there."""
    model = tm.build(layers=4)
    words = torch.tensor([[11, 12, 13, 14]])
    logits = []
    with todre.prune(model, COMPACT):
        for again in (False, True):
            cache = cached(model)
            for number in range(turns - 1):
                model(**turn(model, number), **{CACHE: cache})
            start, given = int(cache.get_seq_length()), turn(model, 7)
            place = (given["input_ids"][0] == tm.IMAGE).nonzero().flatten()
            stop = {"before the picture": 3, "in the picture": int(place[0]), "after the picture": int(place[-1]) + 3}
            stop = stop[left]
            if again:  # the whole turn, then back
                model(**given, **{CACHE: cache})
                cache.crop(start + stop - int(cache.get_seq_length()))
            elif left == "after the picture":
                model(**(given | {"input_ids": given["input_ids"][:, :stop]}), **{CACHE: cache})
            else:
                model(input_ids=given["input_ids"][:, :stop], **{CACHE: cache})
            assert int(cache.get_seq_length()) == start + stop
            logits.append(model(input_ids=words, **{CACHE: cache}).logits)
    torch.testing.assert_close(logits[1], logits[0], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("method", [STAGE_1, COMPACT], ids=["original", "compact"])
@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_rows_of_a_pruned_cache_can_be_reordered(method, static):
    model = tm.build(layers=4)
    samples = [
        tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1),
        tm.sample(model, 4, [tm.SIZES[2], tm.SIZES[4]], 9, seed=2),
    ]
    inputs, swap = tm.batch(model, samples), torch.tensor([1, 0])
    token = torch.tensor([[21], [22]])
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
    places = mask.sum(dim=1, keepdim=True) - 1
    with todre.prune(model, method):
        caches = [cached(model, static) for _ in range(2)]
        for cache in caches:
            model(**inputs, **{CACHE: cache}, logits_to_keep=1)
        expected = model(input_ids=token, attention_mask=mask, position_ids=places, **{CACHE: caches[0]}).logits
        caches[1].reorder_cache(swap)
        got = model(input_ids=token[swap], attention_mask=mask[swap], position_ids=places[swap], **{CACHE: caches[1]})
    torch.testing.assert_close(got.logits[swap], expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("retain", [0.25, 5])
def test_hidden_states_of_every_depth_are_in_their_columns_beside_a_longer_row(retain):
    """The longest row has no picture, so that the batch's width does not change where the other row loses tokens."""
    model = tm.build(layers=4)
    pair = [tm.sample(model, 7, [tm.SIZES[2]], 6, seed=1), tm.sample(model, 200, [], 60, seed=3)]
    together, alone = tm.batch(model, pair, side="right"), tm.batch(model, pair[:1])
    method = todre.FastV(layer=2, retain=retain)
    with todre.prune(model, method):
        both = model(**together, output_hidden_states=True).hidden_states
        one = model(**alone, output_hidden_states=True).hidden_states
    assert len(both) == len(one) == 5
    for depth, (many, single) in enumerate(zip(both, one, strict=True)):
        torch.testing.assert_close(many[:1, : single.shape[1]], single, atol=2e-5, rtol=0, msg=f"depth {depth}")


@torch.no_grad()
def test_attention_maps_come_with_a_warning():
    model = tm.build(backend="eager", layers=2)
    with todre.prune(model, STAGE_1), pytest.warns(UserWarning, match="Attention maps are those of the tokens left"):
        model(**tm.ragged(model), output_attentions=True)
    with todre.prune(model, todre.NoPruning()), warnings.catch_warnings():
        warnings.simplefilter("error")
        model(**tm.ragged(model), output_attentions=True)


def test_logits_of_routers_are_refused():
    specimen, model = built("qwen3_vl_moe")
    inputs = batch(specimen, model, ragged(specimen, model))
    with todre.prune(model, STAGE_1), pytest.raises(UnsupportedInputError, match="use output_router_logits=False"):
        model(**inputs, labels=inputs["input_ids"], output_router_logits=True, use_cache=False)


@torch.no_grad()
def test_embeddings_that_come_with_sizes_alone_are_not_pruned_without_a_word():
    model = tm.build(layers=2)
    inputs = turn(model, 1)
    sizes, embeds = inputs["image_sizes"], model.get_input_embeddings()(inputs["input_ids"])
    with todre.prune(model, STAGE_1):
        with pytest.warns(UnprunedWarning, match="Embeddings came without pictures or ids"):
            model(inputs_embeds=embeds, image_sizes=sizes)
        model.get_image_features(inputs["pixel_values"], sizes)
        with pytest.raises(UnsupportedInputError, match="Pictures were encoded in this block, and then embeddings"):
            model(inputs_embeds=embeds, image_sizes=sizes)


@torch.no_grad()
def test_a_mask_of_the_decoders_own_call_is_not_dropped():
    model = tm.build(layers=2)
    with todre.prune(model, STAGE_1):
        cache = cached(model)
        model(**turn(model, 1), **{CACHE: cache})
        past, states = int(cache.get_seq_length()), torch.randn(1, 2, 48)
        mask = torch.zeros(1, 1, 2, past + 2)
        mask[..., :past] = torch.finfo(torch.float32).min
        with pytest.raises(UnsupportedInputError, match="A 4-D attention mask of shape"):
            model.model.language_model(inputs_embeds=states, attention_mask=mask, past_key_values=cache)


@torch.no_grad()
def test_features_in_another_order_bring_their_own_facts():
    model = tm.build(layers=2)
    inputs = tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0], tm.SIZES[0]], 9, seed=2)])
    pixels = {name: inputs[name] for name in ("pixel_values", "image_sizes")}
    swapped = {name: x.flip(0) for name, x in pixels.items()}
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with todre.prune(model, todre.CLSTopK(retain=0.2)) as report:
        model(**text, **swapped)
        expected = report.kept
        encoded = model.get_image_features(**pixels, return_dict=True)
        encoded.pooler_output = list(encoded.pooler_output)[::-1]
        model(**text, mm_encoder_outputs={"image": encoded})
        assert report.kept == expected


def test_static_caches_of_flex_and_flash_attention_are_refused(monkeypatch):
    specimen, _ = built("qwen2_vl")
    with uncompiled_flex(monkeypatch):
        model = specimen.build("sdpa")
        model.config.text_config._attn_implementation = "flex_attention"
        inputs = batch(specimen, model, ragged(specimen, model))
        with todre.prune(model, STAGE_1), pytest.raises(UnsupportedInputError, match="type BlockMask cannot be short"):
            model.generate(**inputs, max_new_tokens=2, do_sample=False, cache_implementation="static")
    model = tm.build(layers=2)
    with (
        flashlike.flash_attention(model),
        todre.prune(model, STAGE_1),
        pytest.raises(UnsupportedInputError, match="Flash attention reads a static cache by the width of the mask"),
    ):
        model(**tm.ragged(model), **{CACHE: cached(model, static=True)})
