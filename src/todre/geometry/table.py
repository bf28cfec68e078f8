"""The layout of each family: one row for each `config.model_type`."""

from __future__ import annotations

from typing import Any

from todre.errors import UnsupportedModelError
from todre.geometry.anyres import AnyRes, AnyResVideo, OneVision
from todre.geometry.canvases import (
    by_covered_area,
    by_fit,
    by_longest_edge,
    by_tile_count,
    by_tokens,
    whole_by_tokens,
    whole_longest,
    whole_tile_size,
)
from todre.geometry.grid import FlatGrid, additional_tokens, class_tokens, pooled_cell, processor_patch, shuffled_cell
from todre.geometry.merged import Merged, by_area, by_area_of_strips, by_shared_area, by_volume, merged_frames
from todre.geometry.pan import PanAndScan, averaged_cell
from todre.geometry.rows import Rows, kernel_patch, pad_up, within_tokens
from todre.geometry.source import Layout, Source
from todre.geometry.steps import fit_to_square, resize_and_crop
from todre.geometry.tiles import Tiles


def pooled_processor_patch(source: Source) -> int:
    """Pixels along one side of a cell of `config.projector_pooling_ratio` patches.

    The processor says how large a patch is.
    """
    return processor_patch(source) * int(source.config.projector_pooling_ratio)


LAYOUTS: dict[str, Layout] = {
    # one grid per picture or frame
    "llava": FlatGrid(classes=class_tokens),
    "vipllava": FlatGrid(),
    "paligemma": FlatGrid(),
    "video_llava": FlatGrid(classes=class_tokens, frame_classes=additional_tokens),
    "fast_vlm": FlatGrid(cell=processor_patch),
    "deepseek_vl": FlatGrid(look=fit_to_square),
    "janus": FlatGrid(look=fit_to_square),
    # thumbnail, crops, newlines
    "llava_next": AnyRes(),
    "llava_next_video": AnyResVideo(),
    "llava_onevision": OneVision(),
    # patches at the picture's own aspect ratio, merged 2 × 2
    "qwen2_vl": Merged(clip_rule=by_area),
    "qwen2_5_vl": Merged(clip_rule=by_area),
    "qwen3_vl": Merged(clip_rule=by_volume),
    "qwen3_vl_moe": Merged(clip_rule=by_volume),
    "qwen3_5": Merged(clip_rule=by_volume),
    "qwen3_5_moe": Merged(clip_rule=by_volume),
    "glm4v": Merged(by_volume, clip_rule=by_volume),
    "glm4v_moe": Merged(by_volume, clip_rule=by_volume),
    "glm46v": Merged(by_volume, clip_rule=by_volume),
    "glmga": Merged(by_volume, clip_rule=by_volume),
    "glm_ocr": Merged(by_volume, clip_rule=by_volume),
    "video_llama_3": Merged(clip_rule=by_shared_area),
    "ernie4_5_vl_moe": Merged(clip_rule=by_area, group=merged_frames),
    "paddleocr_vl": Merged(by_area_of_strips),
    "exaone4_5": Merged(clip_rule=by_area),
    "hyperclovax_vision_v2": Merged(clip_rule=by_area),
    "qwen2_5_omni_thinker": Merged(clip_rule=by_area),
    "qwen3_omni_moe_thinker": Merged(clip_rule=by_area),
    "lfm3_vl": Merged(clip_rule=by_volume),
    "cosmos3_omni": Merged(clip_rule=by_volume),
    "cosmos3_edge": Merged(by_volume, clip_rule=by_volume),
    "minimax_m3_vl": Merged(),
    "cohere_compass": Merged(clip_rule=by_volume),
    # square tiles and the whole picture
    "internvl": Tiles(shuffled_cell("downsample_ratio"), frame=resize_and_crop),
    "qianfan_ocr": Tiles(shuffled_cell("downsample_ratio")),
    "aya_vision": Tiles(pooled_cell("downsample_factor")),
    "cohere2_vision": Tiles(pooled_cell("downsample_factor")),
    "llama4": Tiles(shuffled_cell("pixel_shuffle_ratio", of="vision_config"), by_fit),
    "ovis2": Tiles(pooled_cell("hidden_stride", of="vision_config"), by_covered_area, thumbnail="first"),
    "idefics3": Tiles(pooled_cell("scale_factor"), by_longest_edge, whole_longest),
    "smolvlm": Tiles(pooled_cell("scale_factor"), by_longest_edge, whole_longest, frame=whole_longest),
    "lfm2_vl": Tiles(pooled_cell("downsample_factor"), by_tokens, whole_by_tokens),
    "perception_lm": Tiles(
        pooled_processor_patch,
        by_tile_count,
        whole_tile_size,
        thumbnail="first",
        lone_thumbnail=True,
        frame=resize_and_crop,
    ),
    "gemma3": PanAndScan(cell=averaged_cell),
    # rows of patches at the picture's own aspect ratio
    "mistral3": Rows(),
    "lighton_ocr": Rows(),
    "gemma4": Rows(pooled_cell("pooling_kernel_size", of="vision_config"), within_tokens, clips=True),
    "kimi_k25": Rows(kernel_patch, pad_up),
}

TOWERS: dict[tuple[str, str], Layout] = {("llava", "pixtral"): Rows()}
"""(model type, tower's model type) → layout, if the tower decides the layout."""


RESAMPLED = frozenset({"aria", "blip-2", "idefics2", "instructblip", "instructblipvideo", "kosmos-2"})
"""Families whose visual tokens have no rectangle.

Their visual tokens are learned queries, each of which reads the whole picture.
"""


def layout_of(config: Any) -> Layout:
    """The layout of a model's visual tokens.

    Raises:
        UnsupportedModelError: the layout is not known, or the tokens have no place in the picture.
    """
    tower = getattr(getattr(config, "vision_config", None), "model_type", "")
    layout = TOWERS.get((config.model_type, tower)) or LAYOUTS.get(config.model_type)
    if layout is not None:
        return layout
    if config.model_type in RESAMPLED:
        raise UnsupportedModelError(
            f"The visual tokens of {config.model_type!r} have no place in the picture, because a resampler mixes the "
            "whole picture into each of them, so they cannot be drawn; leave the picture out."
        )
    raise UnsupportedModelError(
        f"Which pixels the visual tokens of {config.model_type!r} come from is not known, so they can neither be "
        f"counted nor drawn; leave the picture out, or use one of {', '.join(sorted(LAYOUTS))}."
    )
