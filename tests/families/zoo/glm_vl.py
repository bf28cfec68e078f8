"""GLM-4.1V, 4.5V and 4.6V, GLM-OCR and Glmga: frames of a clip stand as pictures between two video tokens."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.qwen_vl import END, IMAGE, MERGE, START, build, collate, grid_media, mrope, text, tower
from families.zoo.specimen import FIRST_WORD, Specimen
from torch import Tensor
from transformers import (
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    GlmgaConfig,
    GlmOcrConfig,
    GlmOcrForConditionalGeneration,
)

CLIP_START, CLIP_END, CLIP = 7, 8, 9
IDS = {
    "image_token_id": IMAGE,
    "video_token_id": CLIP,
    "image_start_token_id": START,
    "image_end_token_id": END,
    "video_start_token_id": CLIP_START,
    "video_end_token_id": CLIP_END,
}


def framed(kind: str, grid: tuple[int, int, int]) -> Tensor:
    """A picture, or the frames of a clip, each with its time after it; placeholders are the same for both."""
    time, height, width = grid
    frame = [START, *[IMAGE] * (height * width // MERGE**2), END]
    if kind == "image":
        return torch.tensor(frame)
    ids = [token for index in range(time) for token in (*frame, FIRST_WORD + 60 + index)]
    return torch.tensor([CLIP_START, *ids, CLIP_END])


def token_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """1 where a picture's placeholder is, 2 where a clip's is, (b, q); only what is around them tells which."""
    inside = (ids == CLIP_START).cumsum(1) > (ids == CLIP_END).cumsum(1)
    return {"mm_token_type_ids": ((ids == IMAGE).int() * (1 + inside.int())).int()}


def half_rotary(**more: Any) -> dict[str, Any]:
    """Three heads of 16 dimensions, half of them rotated."""
    rope = mrope(partial_rotary_factor=0.5)
    return text(num_attention_heads=3, num_key_value_heads=1, rope_parameters=rope, **more)


def learned_tower(**more: Any) -> dict[str, Any]:
    """With a learned grid of 6 × 6 positions, interpolated."""
    return tower(image_size=24, **more)


def glm_config() -> Glm4vConfig:
    """Norms before and after each part of a layer."""
    return Glm4vConfig(text_config=half_rotary(), vision_config=learned_tower(), **IDS)


def moe_config() -> Glm4vMoeConfig:
    """One dense layer, then four experts, two for each token, and a shared one."""
    settings = half_rotary(
        head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
        routed_scaling_factor=1.5,
    )
    return Glm4vMoeConfig(text_config=settings, vision_config=learned_tower(), **IDS)


def wrapper_config(config_class: Any) -> Any:
    """Sub-models chosen by their configurations' names."""
    return config_class(
        text_config={"model_type": "glm4v_text", **half_rotary()},
        vision_config={"model_type": "glm4v_vision", **learned_tower()},
        **IDS,
    )


def ocr_config() -> GlmOcrConfig:
    """Norms of queries and keys in the tower, no learned positions; all dimensions rotated."""
    return GlmOcrConfig(text_config=text(head_dim=8), vision_config=tower(), **IDS)


def specimen(model_type: str, config: Any, model_class: Any) -> Specimen:
    """A specimen for pictures and clips."""
    return Specimen(
        model_type, build(config, model_class), grid_media(framed), collate, columns=token_types, video=True
    )


SPECIMENS = [
    specimen("glm4v", glm_config, Glm4vForConditionalGeneration),
    specimen("glm46v", lambda: wrapper_config(Glm46VConfig), Glm46VForConditionalGeneration),
    specimen("glm4v_moe", moe_config, Glm4vMoeForConditionalGeneration),
    specimen("glm_ocr", ocr_config, GlmOcrForConditionalGeneration),
    specimen("glmga", lambda: wrapper_config(GlmgaConfig), Glm46VForConditionalGeneration),
]
