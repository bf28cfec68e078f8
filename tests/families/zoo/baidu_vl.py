"""PaddleOCR-VL, which reads patches row by row and merges them after the tower, and ERNIE 4.5 VL with its two sets of
experts, one for text and one for everything from a picture's start token to its end token."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.qwen_vl import (
    END,
    FRAMES,
    GRIDS,
    IMAGE,
    MERGE,
    PATCH,
    START,
    VIDEO,
    build,
    collate,
    mrope,
    patches,
    text,
    token_types,
    tower,
    wrapped,
)
from families.zoo.specimen import Media, Specimen
from torch import Tensor
from transformers import (
    Ernie4_5_VLMoeConfig,
    Ernie4_5_VLMoeForConditionalGeneration,
    PaddleOCRVLConfig,
    PaddleOCRVLForConditionalGeneration,
)

CLIP_START, CLIP_END = 7, 8


def paddle_config() -> PaddleOCRVLConfig:
    """A tower like SigLIP's, with a learned grid of 6 × 6 positions and rotary ones."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "initializer_range": 0.12,
    }
    return PaddleOCRVLConfig(
        text_config=text(head_dim=8, tie_word_embeddings=False),
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=False,
    )


def paddle_media(model: Any, kind: str, variant: int) -> Media:
    """Patches of one frame, as small pictures."""
    grid = GRIDS[kind][variant]
    pixels = patches(kind, variant, grid, frames=1).reshape(-1, 3, PATCH, PATCH)
    return Media(kind, wrapped(kind, grid), {"pixels": pixels, "grid": grid})


def ernie_config() -> Ernie4_5_VLMoeConfig:
    """One dense layer, then two times four experts with shared ones; two frames of a clip become one."""
    settings = text(
        rope_parameters=mrope(mrope_section=[1, 1, 2]),
        moe_num_experts=4,
        moe_k=2,
        moe_num_shared_experts=1,
        moe_intermediate_size=[24, 16],
        tie_word_embeddings=False,
    )
    return Ernie4_5_VLMoeConfig(
        text_config=settings,
        vision_config=tower(temporal_merge_size=FRAMES),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_start_token_id=START,
        image_end_token_id=END,
        video_start_token_id=CLIP_START,
        video_end_token_id=CLIP_END,
        tie_word_embeddings=False,
    )


def ernie_ids(kind: str, grid: tuple[int, int, int]) -> Tensor:
    """Start, one placeholder for each merged patch, end."""
    time, height, width = grid
    count = height * width // MERGE**2
    if kind == "image":
        return torch.tensor([START, *[IMAGE] * count, END])
    return torch.tensor([CLIP_START, *[VIDEO] * (time // FRAMES * count), CLIP_END])


def ernie_media(model: Any, kind: str, variant: int) -> Media:
    """Patches are one frame deep, so clips have twice as many frames as others."""
    time, height, width = GRIDS[kind][variant]
    grid = (time * (FRAMES if kind == "video" else 1), height, width)
    return Media(kind, ernie_ids(kind, grid), {"pixels": patches(kind, variant, grid, frames=1), "grid": grid})


def ernie_columns(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """Placeholders for positions, and for the experts all that belongs to a picture or clip."""
    pictures = (ids == IMAGE) | (ids == START) | (ids == END)
    clips = (ids == VIDEO) | (ids == CLIP_START) | (ids == CLIP_END)
    return {**token_types(model, ids), "moe_mm_token_type_ids": pictures.int() + 2 * clips.int()}


SPECIMENS = [
    Specimen(
        "paddleocr_vl",
        build(paddle_config, PaddleOCRVLForConditionalGeneration),
        paddle_media,
        collate,
        columns=token_types,
    ),
    Specimen(
        "ernie4_5_vl_moe",
        build(ernie_config, Ernie4_5_VLMoeForConditionalGeneration),
        ernie_media,
        collate,
        columns=ernie_columns,
        video=True,
    ),
]
