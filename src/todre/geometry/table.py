"""Which layout each family has: one row for each `config.model_type`, with its facts."""

from __future__ import annotations

from typing import Any

from todre.errors import UnsupportedModelError
from todre.geometry.anyres import AnyRes, AnyResVideo, OneVision
from todre.geometry.grid import FlatGrid, additional_tokens, class_tokens, processor_patch
from todre.geometry.merged import Merged, by_area, by_area_of_strips, by_shared_area, by_volume, merged_frames
from todre.geometry.source import Layout

LAYOUTS: dict[str, Layout] = {
    # one grid per picture or frame
    "llava": FlatGrid(classes=class_tokens),
    "vipllava": FlatGrid(),
    "paligemma": FlatGrid(),
    "video_llava": FlatGrid(classes=class_tokens, frame_classes=additional_tokens),
    "fast_vlm": FlatGrid(cell=processor_patch),
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
    "cohere_compass": Merged(clip_rule=by_volume),
}


def layout_of(config: Any) -> Layout:
    """The layout of a model's visual tokens.

    Raises:
        UnsupportedModelError: it is not known, or there is none.
    """
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        raise UnsupportedModelError(
            f"Which pixels the visual tokens of {config.model_type!r} come from is not known, so they can neither be "
            f"counted nor drawn; leave the picture out, or use one of {', '.join(sorted(LAYOUTS))}."
        )
    return layout
