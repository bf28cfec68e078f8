"""Pictures resized before real processors: the model really makes as many visual tokens as were promised."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from processing.features import count_columns, picture_features
from processing.kits import KITS
from processing.media import picture

import todre
from todre.clips import clip_of_frames
from todre.errors import ContractError, InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.methods.base import budget
from todre.methods.compose import Compose
from todre.processing import apply, load_processor
from todre.processing.downsampling import Shower, Shown, check_shown

TEXT = {"type": "text", "text": "what is this ?"}
SIZES = [(90, 61), (64, 64), (40, 100)]
FALLS = ("llava_next_video", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "internvl")
"""Families whose number of visual tokens falls with the size of a picture; Qwen3's kinds here do not get so small."""
FIXED = ("smolvlm", "video_llava")
KINDS = {kit.model_type: kit for kit in KITS}


@cache
def model_of(kind):
    return KINDS[kind].specimen.build("sdpa")


@pytest.fixture
def processor(kind, tmp_path):
    return load_processor(KINDS[kind].write(tmp_path / "checkpoint", "older"))


def real(processor, model, *images):
    """Visual tokens that the model makes of pictures, with its processor's prompt as a second witness."""
    content = [*({"type": "image", "image": image} for image in images), TEXT]
    inputs, _ = apply(processor, [{"role": "user", "content": content}])
    count = count_columns(model, inputs["input_ids"])
    assert count == len(picture_features(model, inputs))
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()
    return count


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", FALLS)
def test_the_model_makes_what_is_promised_and_no_more_than_the_budget(processor, kind, size):
    model, image = model_of(kind), picture(*size, seed=1)
    whole, reached = real(processor, model, image), set()
    for retain in (0.9, 0.6, 0.4, 0.25, 6, 2):
        try:
            found = todre.downsample(image, processor, model, retain=retain)
        except UnsupportedInputError:  # a budget below the floor
            continue
        assert found.visual_tokens_before == whole
        assert found.visual_tokens == real(processor, model, found.image) <= budget(retain, whole)
        reached.add(found.visual_tokens)
    assert min(reached) < whole


@pytest.mark.parametrize("kind", FALLS)
def test_every_budget_of_the_whole_keeps_the_picture(processor, kind):
    image = picture(64, 64, seed=1)
    found = todre.downsample(image, processor, model_of(kind), retain=1.0)
    assert found.visual_tokens == found.visual_tokens_before
    assert np.array_equal(np.asarray(found.image), np.asarray(image))


@pytest.mark.parametrize("kind", FIXED)
def test_fixed_numbers_of_tokens_are_refused(processor, kind):
    with pytest.raises(UnsupportedModelError, match=f"visual tokens of '{kind}'.*use pooling"):
        todre.downsample(picture(64, 64), processor, model_of(kind), retain=0.3)


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
def test_the_picture_is_resampled_once_by_the_processors_filter(processor, kind):
    image = picture(90, 61, seed=3)
    assert processor.image_processor.resample == 3
    found = todre.downsample(image, processor, model_of(kind), retain=0.5)
    expected = image.resize(found.image.size, Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(found.image), np.asarray(expected))
    again = processor.image_processor(images=found.image, return_tensors="pt", do_rescale=False, do_normalize=False)
    grid = again["image_grid_thw"][0].tolist()
    side = processor.image_processor.patch_size
    assert (grid[2] * side, grid[1] * side) == found.image.size, "the processor resized once more"
    processor.image_processor.resample = 0
    nearest = todre.downsample(image, processor, model_of(kind), retain=0.5).image
    assert np.array_equal(np.asarray(nearest), np.asarray(image.resize(nearest.size, Image.Resampling.NEAREST)))


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_pictures_of_every_mode_come_back_in_rgb(processor, kind, mode):
    found = todre.downsample(picture(90, 61).convert(mode), processor, model_of(kind), retain=0.5)
    assert found.image.mode == "RGB"


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
def test_several_pictures_share_the_budget_or_have_one_each(processor, kind):
    model, images = model_of(kind), [picture(90, 61, seed=1), picture(40, 40, seed=2)]
    shower = Shower(processor, model.config)
    for per in ("sample", "image", "clip", "frame"):
        shown = shower.show(todre.Downsample(retain=0.5, per=per), images)
        assert isinstance(shown.method, todre.NoPruning)
        before = [real(processor, model, image) for image in images]
        assert list(shown.before) == before
        assert [real(processor, model, image) for image in shown.pictures] == list(shown.visual_tokens)
        assert sum(shown.visual_tokens) == real(processor, model, *shown.pictures) <= budget(0.5, sum(before))
    assert shown.visual_tokens[1] <= budget(0.5, before[1])


@pytest.mark.parametrize("kind", ["llava_onevision"])
def test_pictures_that_are_looked_at_once_because_there_are_several_are_refused(processor, kind):
    shower = Shower(processor, model_of(kind).config)
    with pytest.raises(UnsupportedModelError, match="no fewer of a smaller one"):
        shower.show(todre.Downsample(retain=0.5), [picture(64, 64), picture(64, 64)])


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
def test_clips_are_refused_and_other_methods_change_nothing(processor, kind):
    image = picture(64, 64)
    clip, shower = clip_of_frames([image, image]), Shower(processor, model_of(kind).config)
    with pytest.raises(UnsupportedInputError, match="downsample resizes pictures and not clips"):
        shower.show(todre.Downsample(), [clip])
    method = todre.ToDRE(retain=0.2)
    shown = shower.show(method, [image, clip])
    assert shown.pictures == (image, clip)
    assert shown.method is method
    assert (shown.facts(), shown.sentences) == ({}, [])


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
def test_a_broken_promise_is_an_error(processor, kind):
    config = model_of(kind).config
    shown = Shown((picture(64, 64),), todre.NoPruning(), (5,), (20,))
    right = torch.tensor([1] + [config.image_token_id] * 5)
    check_shown(config, shown, [right, right])
    with pytest.raises(ContractError, match=r"64 × 64 pixels has 4 visual tokens, and 5 were expected"):
        check_shown(config, shown, [right, right[:-1]])


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
@pytest.mark.parametrize(("image", "retain"), [("a.png", 0.5), (None, 0.5), (picture(9, 9), 0), (picture(9, 9), 1.5)])
def test_wrong_arguments_are_named(processor, kind, image, retain):
    with pytest.raises(InvalidValueError, match=r"(image|retain) must be"):
        todre.downsample(image, processor, model_of(kind), retain=retain)


@pytest.mark.parametrize("kind", ["qwen2_5_vl"])
def test_pruning_a_model_refuses_it_and_names_what_to_call(kind):
    method = todre.Downsample(retain=0.5)
    with pytest.raises(UnsupportedInputError, match=r"todre\.downsample\(image, processor, model"):
        todre.attach(model_of(kind), method)
    with pytest.raises(UnsupportedInputError, match=r"todre\.downsample\("), todre.prune(model_of(kind), method):
        pass
    embeddings = torch.zeros(1, 4, 8, dtype=torch.float32, device="cpu")
    with pytest.raises(UnsupportedInputError, match=r"todre\.downsample\("):
        todre.prune_embeddings(method, embeddings, torch.ones(1, 4, dtype=torch.bool, device="cpu"))
    with pytest.raises(InvalidValueError, match="cannot be combined"):
        Compose(method, todre.ToDRE())
