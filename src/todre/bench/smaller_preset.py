"""Presets with a smaller picture, for methods that resize pictures.

A preset has no processor. The rules by which a processor would scale a picture are those of published checkpoints.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from todre.bench.presets import Preset
from todre.errors import UnsupportedInputError
from todre.geometry.smaller import counts, smaller
from todre.methods.base import Method


def smaller_preset(model: Any, preset: Preset, method: Method) -> Preset:
    """The preset with its picture in the size that `method` chooses.

    Args:
        model: made from `preset`.
        preset: the preset.
        method: a method that resizes pictures.

    Raises:
        UnsupportedModelError: the model makes equally many tokens of every picture.
        UnsupportedInputError: no smaller size meets the budget, or the scaling of the family's pictures is not known.
    """
    config = model.config
    make = _PROCESSORS.get(config.model_type)
    if make is None:
        raise UnsupportedInputError(
            f"How the processor of {preset.name} scales pictures is not known without its files, so {method.name} "
            "cannot be measured with random weights; measure a checkpoint with --model."
        )
    processor, size = make(config), preset.picture[::-1]
    (most,) = method.most_tokens(counts(processor, config, [size]))
    return replace(preset, picture=smaller(processor, config, [size], 0, most).size[::-1])


def _squares(config: Any) -> Any:
    """LLaVA's: the shorter edge scaled to the tower's side, and the middle cut out."""
    side = config.vision_config.image_size
    settings = SimpleNamespace(
        do_resize=True,
        size={"shortest_edge": side},
        do_center_crop=True,
        crop_size={"height": side, "width": side},
    )
    return SimpleNamespace(
        image_processor=settings, num_additional_image_tokens=1, vision_feature_select_strategy="default"
    )


def _whole_tiles(config: Any) -> Any:
    """LLaVA-OneVision's: tiles of the tower's side."""
    side = config.vision_config.image_size
    settings = SimpleNamespace(do_resize=True, size={"height": side, "width": side})
    return SimpleNamespace(
        image_processor=settings, num_additional_image_tokens=0, vision_feature_select_strategy="full"
    )


def _merged_patches(config: Any) -> Any:
    """Qwen2.5-VL's: an area from 4 to 16,384 cells of merged patches."""
    vision = config.vision_config
    cell = (vision.patch_size * vision.spatial_merge_size) ** 2
    settings = SimpleNamespace(
        do_resize=True,
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_patch_size=vision.temporal_patch_size,
        size={"shortest_edge": 4 * cell, "longest_edge": 16384 * cell},
    )
    return SimpleNamespace(image_processor=settings)


_PROCESSORS = {
    "llava": _squares,
    "llava_next": _squares,
    "llava_onevision": _whole_tiles,
    "qwen2_5_vl": _merged_patches,
}
"""What stands for the processor of each preset's family."""
