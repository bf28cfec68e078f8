"""Each stand-in against the video processor it stands for, on any frames and settings."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from processing.media import picture

from todre.processing.families import BY_PROCESSOR, FAMILIES
from todre.processing.settings import complete
from todre.processing.video_stand_ins import PilVideoProcessor

LEVEL = 1 / (255 * 0.25)
EDGE = st.integers(20, 90)
TINY = {
    "LlavaNextVideoVideoProcessor": {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}},
    "VideoLlavaVideoProcessor": {"size": {"shortest_edge": 20}, "crop_size": {"height": 25, "width": 17}},
    "LlavaOnevisionVideoProcessor": {"size": {"height": 20, "width": 20}},
    "InternVLVideoProcessor": {"size": {"height": 36, "width": 28}},
    "Qwen2VLVideoProcessor": {"size": {"shortest_edge": 256, "longest_edge": 1280}, "patch_size": 4},
    "Qwen3VLVideoProcessor": {"size": {"shortest_edge": 1024, "longest_edge": 4096}, "patch_size": 4},
    "SmolVLMVideoProcessor": {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 24}},
}
VARIANTS = {
    "as they are": {},
    "not rescaled": {"do_rescale": False},
    "not normalised": {"do_normalize": False},
    "not resized": {"do_resize": False},
    "bilinear": {"resample": 2},
    "cropped": {"do_center_crop": True, "crop_size": {"height": 30, "width": 13}},
    "capped": {"cap_pixels_per_frame": True, "max_video_tokens": 12},
    "not padded": {"do_pad": False},
    "three frames a step": {"temporal_patch_size": 3},
}
MEANT_FOR = {
    "cropped": ("LlavaNext", "VideoLlava", "LlavaOnevision", "InternVL"),
    "capped": ("Qwen",),
    "three frames a step": ("Qwen",),
    "not padded": ("SmolVLM",),
}
PAIRS = [(name, variant) for name in FAMILIES for variant in VARIANTS if name.startswith(MEANT_FOR.get(variant, ("",)))]


def both(name, own):
    stand_in = PilVideoProcessor(complete(own, FAMILIES[name]), FAMILIES[name])
    return stand_in, getattr(transformers, name)(**own)


def frames(count, width, height, seed):
    return np.stack([np.asarray(picture(width, height, seed + number)) for number in range(count)])


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults(name):
    """Every setting that the stock class has by default, and no other value for it."""
    stand_in, stock = both(name, {})
    for setting, value in FAMILIES[name].defaults.items():
        theirs = getattr(stock, setting, None)
        value, theirs = (tuple(one) if isinstance(one, (list, tuple)) else one for one in (value, theirs))
        if setting in ("size", "crop_size", "max_image_size") and theirs is not None:
            theirs = {edge: number for edge, number in dict(theirs).items() if number is not None}
        assert value == theirs, setting
    assert tuple(stock.model_input_names) == stand_in.model_input_names


def test_every_processor_is_paired_with_its_video_processor():
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

    for model_type, processor in PROCESSOR_MAPPING_NAMES.items():
        stock = VIDEO_PROCESSOR_MAPPING_NAMES.get(model_type)
        stock = stock.get("torchvision") if isinstance(stock, dict) else stock
        if processor in BY_PROCESSOR and stock is not None:
            assert BY_PROCESSOR[processor] == stock, model_type


@pytest.mark.parametrize(("name", "variant"), PAIRS)
@given(width=EDGE, height=EDGE, count=st.integers(3, 7), seed=st.integers(0, 999))
@settings(max_examples=12, deadline=None)
def test_same_as_stock(name, variant, width, height, count, seed):
    own = {**TINY[name], **VARIANTS[variant]}
    if variant == "not resized":
        side = 8 * (width // 8)
        width = height = side
    stand_in, stock = both(name, own)
    clips = [frames(count, width, height, seed), frames(count, width, height, seed + 50)]
    ours, theirs = stand_in(clips), stock(clips, do_sample_frames=False, return_tensors="pt")
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert (ours[key].shape, ours[key].dtype) == (value.shape, value.dtype)
        if not key.startswith("pixel_values"):
            assert torch.equal(ours[key], value)
            continue
        apart = (ours[key].double() - value.double()).abs().max()
        scale = (1 if own.get("do_rescale", True) else 255) * (LEVEL if own.get("do_normalize", True) else 1 / 255)
        if variant == "not resized":
            assert apart <= 1e-6 * max(1, scale / LEVEL)
        else:
            assert apart <= 3.01 * scale
