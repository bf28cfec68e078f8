"""Presets have the published sizes, the shapes that FLOPs are counted for, and prompts of the right geometry."""

import copy
import dataclasses

import pytest
import torch

from todre.bench.oracle import shorten
from todre.bench.presets import PRESETS, Preset, preset
from todre.bench.prompts import random_prompt
from todre.bench.random_models import build, parameters
from todre.bench.workloads import Pruned, exact_length, generate
from todre.errors import InvalidValueError
from todre.flops import from_config
from todre.flops.shape import PRESETS as SHAPES
from todre.geometry import count_visual_tokens
from todre.methods.random import RandomTokens
from todre.pruning import prune

# Weights that the checkpoints on the hub hold, as their safetensors headers say; llava's 13B in billions.
PUBLISHED = {
    "llava-1.5-7b": 7_063_427_072,
    "llava-next-7b": 7_063_431_168,
    "onevision-7b": 8_030_348_832,
    "qwen2.5-vl-7b": 8_292_166_656,
    "internvl2-8b": 8_075_365_376,
}
SMALL_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL_TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "num_key_value_heads": 1}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_as_many_as_published(name):
    assert parameters(PRESETS[name]) == PUBLISHED[name]


def test_large_and_small_ones_have_about_their_names_size():
    assert parameters(PRESETS["llava-1.5-13b"]) / 1e9 == pytest.approx(13.35, abs=0.01)
    assert parameters(PRESETS["llava-next-260m"]) / 1e6 == pytest.approx(260, abs=5)


@pytest.mark.parametrize("name", sorted(set(PRESETS) & set(SHAPES)))
def test_shape_is_that_of_the_flops(name):
    assert dataclasses.replace(from_config(PRESETS[name].make_config()), name=name) == SHAPES[name]


def test_built_in_the_dtype_and_reproducibly():
    models = [build(PRESETS["tiny"], torch.device("cpu"), torch.bfloat16) for _ in range(2)]
    assert {weight.dtype for weight in models[0].parameters()} == {torch.bfloat16}
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_hub_id_stands_for_its_preset():
    assert preset("llava-hf/llava-v1.6-vicuna-7b-hf").name == "llava-next-7b"
    with pytest.raises(InvalidValueError, match="did you mean 'llava-next-7b'"):
        preset("llava-next-7")


def shrunk(name, side, picture):
    """The preset's way with pictures, on tiles of `side` pixels and with a handful of weights."""
    config = copy.deepcopy({key: dict(value) if hasattr(value, "items") else value
                            for key, value in PRESETS[name].config.items()})  # fmt: skip
    if config["model_type"] == "qwen2_5_vl":
        config["vision_config"] |= {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                                    "out_hidden_size": 32, "fullatt_block_indexes": [1]}  # fmt: skip
        config["text_config"] |= {"rope_parameters": {**config["text_config"]["rope_parameters"],
                                                      "mrope_section": [2, 3, 3]}}  # fmt: skip
    else:
        config["vision_config"] |= SMALL_VISION | {"image_size": side}
        if "image_grid_pinpoints" in config:
            config["image_grid_pinpoints"] = [[side, side], [2 * side, 2 * side]]
    config["text_config"] |= SMALL_TEXT | {"vocab_size": 160000 if "image_token_id" in config else 8192}
    return Preset(name, config, picture)


@pytest.mark.parametrize(
    ("name", "side", "picture", "tokens"),
    [
        ("llava-1.5-7b", 84, (84, 84), 6 * 6),
        ("llava-next-7b", 84, (168, 168), 6 * 6 + 12 * 13),
        ("onevision-7b", 70, (140, 140), 5 * 5 + 10 * 11),
        ("qwen2.5-vl-7b", 0, (84, 112), 3 * 4),
        ("internvl2-8b", 56, (112, 112), 5 * 4),
    ],
)
def test_prompts_hold_what_the_family_makes_of_the_picture(name, side, picture, tokens):
    small = shrunk(name, side, picture)
    model = build(small, torch.device("cpu"), torch.float32, "sdpa")
    made = random_prompt(model, small, 2, 12)
    assert (made.visual_tokens, made.text_tokens, made.rows) == (tokens, 12, 2)
    assert not torch.equal(made.inputs["input_ids"][0], made.inputs["input_ids"][1])
    with prune(model, RandomTokens(retain=5)) as report, torch.inference_mode():
        model(**made.inputs, logits_to_keep=1)
    assert report.visual_tokens_after == [5, 5]
    short = shorten(Pruned(model, made, "random", RandomTokens(retain=5)))
    assert short.embeds.shape[1] == 17
    with exact_length(model):
        assert generate(model, 2, inputs_embeds=short.embeds, attention_mask=short.mask).get_seq_length() == 18


def test_picture_of_the_measured_model_has_2928_tokens():
    size, made = count_visual_tokens(PRESETS["llava-next-260m"].make_config(), (672, 672))
    assert (size, made) == (576 + 48 * 49, 5)


def test_prompt_without_room_for_a_word_is_refused(tiny):
    with pytest.raises(InvalidValueError, match="give at least 2"):
        random_prompt(tiny, PRESETS["tiny"], 1, 1)
