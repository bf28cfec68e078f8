"""Facts about each family's video processor: one row each.

Facts about the models themselves are in `todre.hf.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from todre.hf.keywords import PIXELS, VIDEO_GRIDS, VIDEO_PIXELS
from todre.processing import frames, sizes
from todre.processing.frames import PIXEL_MASK

_BICUBIC, _LANCZOS = 3, 1


@dataclass(frozen=True)
class VideoFamily:
    """A video processor of transformers, as far as PIL can do its work.

    Attributes:
        name: the class in transformers, as in a checkpoint's `video_processor_type`.
        defaults: values of the settings that a checkpoint leaves out.
        fit: a function (settings, frames, height, width) → sizes that a frame is brought to, one after the other.
        arrange: a function (prepared clips, settings) → the model's inputs.
        input_names: names of the model's inputs that `arrange` makes.
        equal_lengths: whether all clips of a batch must have the same number of frames.
        pictures_too: whether a prompt may hold pictures and clips together; otherwise both inputs have one name, and
            one of them would be lost.
    """

    name: str
    defaults: Mapping[str, Any]
    fit: Callable[[Mapping[str, Any], int, int, int], list[sizes.Size]]
    arrange: Callable[[Sequence[Tensor], Mapping[str, Any]], dict[str, Tensor]]
    input_names: tuple[str, ...] = (VIDEO_PIXELS,)
    equal_lengths: bool = False
    pictures_too: bool = True


_SHARED = {
    "resample": _BICUBIC,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_center_crop": None,
    "crop_size": None,
    "num_frames": None,
    "fps": None,
}
_CLIP = {**_SHARED, "image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD}
_HALF = {**_SHARED, "image_mean": IMAGENET_STANDARD_MEAN, "image_std": IMAGENET_STANDARD_STD}
_CROPPED = {
    **_CLIP,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}
_SQUARE = {**_CLIP, "size": {"height": 384, "width": 384}}
_GRID = {"temporal_patch_size": 2, "merge_size": 2, "min_frames": 4, "max_frames": 768, "cap_pixels_per_frame": None}
_GRID_NAMES = (VIDEO_PIXELS, VIDEO_GRIDS)

FAMILIES: dict[str, VideoFamily] = {
    row.name: row
    for row in (
        VideoFamily("LlavaNextVideoVideoProcessor", _CROPPED, sizes.fixed, frames.stack_clips, equal_lengths=True),
        VideoFamily("VideoLlavaVideoProcessor", _CROPPED, sizes.fixed, frames.stack_clips, equal_lengths=True),
        VideoFamily("LlavaOnevisionVideoProcessor", _SQUARE, sizes.fixed, frames.stack_clips, equal_lengths=True),
        VideoFamily("InternVLVideoProcessor", _SQUARE, sizes.fixed, frames.stack_clips, equal_lengths=True),
        VideoFamily(
            "Qwen2VLVideoProcessor",
            {
                **_CLIP,
                **_GRID,
                "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
                "patch_size": 14,
                "max_video_tokens": 128000,
            },
            sizes.qwen2,
            frames.cut_patches,
            _GRID_NAMES,
        ),
        VideoFamily(
            "Qwen3VLVideoProcessor",
            {
                **_HALF,
                **_GRID,
                "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32},
                "patch_size": 16,
                "max_video_tokens": 768,
                "fps": 2,
            },
            sizes.qwen3,
            frames.cut_patches,
            _GRID_NAMES,
        ),
        VideoFamily(
            "SmolVLMVideoProcessor",
            {
                **_HALF,
                "resample": _LANCZOS,
                "size": {"longest_edge": 4 * 364},
                "max_image_size": {"longest_edge": 364},
                "do_pad": True,
            },
            sizes.smolvlm,
            frames.pad_clips,
            (PIXELS, PIXEL_MASK),
            pictures_too=False,
        ),
    )
}
"""`VideoFamily.name` → facts about that video processor."""

BY_PROCESSOR: dict[str, str] = {
    "LlavaNextVideoProcessor": "LlavaNextVideoVideoProcessor",
    "VideoLlavaProcessor": "VideoLlavaVideoProcessor",
    "LlavaOnevisionProcessor": "LlavaOnevisionVideoProcessor",
    "InternVLProcessor": "InternVLVideoProcessor",
    "Qwen2VLProcessor": "Qwen2VLVideoProcessor",
    "Qwen2_5_VLProcessor": "Qwen2VLVideoProcessor",
    "Qwen3VLProcessor": "Qwen3VLVideoProcessor",
    "SmolVLMProcessor": "SmolVLMVideoProcessor",
}
"""Processor class → its video processor, for checkpoints that do not name one."""
