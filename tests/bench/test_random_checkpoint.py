"""Random checkpoints on disk: the preset's own weights, whole for every server, with answers of exact length."""

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import todre
from todre.bench.presets import PRESETS
from todre.bench.random_checkpoint import random_words, save_random_checkpoint
from todre.bench.random_models import build, parameters
from todre.errors import InvalidValueError
from todre.geometry import count_visual_tokens
from todre.loading.model import load
from todre.running import Settings, answer, build_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("random")
    assert save_random_checkpoint(PRESETS["tiny"], found, torch.float32, seed=5) == parameters(PRESETS["tiny"])
    return found


@pytest.fixture(scope="module")
def loaded(folder):
    return load(str(folder), device="cpu")


def test_weights_are_those_of_the_preset(loaded):
    wanted = build(PRESETS["tiny"], torch.device("cpu"), torch.float32, seed=5).state_dict()
    found = loaded.model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_weights_have_names_that_every_engine_knows(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        tower = [name for name in file.keys() if "vision_tower" in name]  # noqa: SIM118
    assert tower
    assert all(".vision_model." in name for name in tower)
    assert (folder / "model.safetensors").stat().st_mode & 0o444 == 0o444


def test_answer_has_as_many_tokens_as_asked_for_and_each_is_a_word(loaded):
    found = answer(loaded, [Image.new("RGB", (168, 84), "teal")], random_words(6, [1]), todre.ToDRE(retain=0.25),
                   Settings(9))  # fmt: skip
    assert found.new_tokens == 9
    assert len(found.text.split()) == 9


def test_prompt_has_the_words_and_the_visual_tokens_of_the_geometry(loaded):
    count, _ = count_visual_tokens(loaded.model.config, (168, 84))
    inputs, prompt = build_inputs(loaded, [Image.new("RGB", (168, 84))], random_words(6, [2]))
    ids = inputs["input_ids"][0].tolist()
    assert ids.count(250) == count
    assert len(ids) == count + len(["<s>", "user", ":", "assistant", ":"]) + 6
    assert len(prompt.split()) == 9


def test_word_is_a_token_and_numbers_decide():
    assert len(random_words(40, [3]).split()) == 40
    assert random_words(40, [3]) == random_words(40, [3]) != random_words(40, [4])
    assert random_words(40, [0, 1 << 32]) != random_words(40, [0, 1 << 33])


def test_preset_of_the_load_measurement():
    preset = PRESETS["llava-next-120m"]
    height, width = preset.picture
    assert count_visual_tokens(preset.make_config(), (width, height))[0] == 1752
    assert parameters(preset) / 1e6 == pytest.approx(120, abs=1)


def test_llava_of_one_tile_is_written_too(tmp_path):
    import dataclasses

    small = {**PRESETS["tiny"].config, "model_type": "llava"}
    del small["image_grid_pinpoints"]
    save_random_checkpoint(dataclasses.replace(PRESETS["tiny"], config=small), tmp_path, torch.float32)
    found = answer(
        load(str(tmp_path), device="cpu"), [Image.new("RGB", (30, 50))], "w9", todre.NoPruning(), Settings(3)
    )
    assert (found.new_tokens, found.report.visual_tokens_before) == (3, [36])


def test_model_without_a_processor_here_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match=r"qwen2.5-vl-small \(qwen2_5_vl\) cannot be written"):
        save_random_checkpoint(PRESETS["qwen2.5-vl-small"], tmp_path / "x")
    assert not list(tmp_path.iterdir())
