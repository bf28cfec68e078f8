"""HunyuanVL (HunyuanOCR): the tower itself adds a token after each row, one before and one after the picture."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.qwen_vl import END, GRIDS, IMAGE, MERGE, PATCH, START, build, collate, patches, text, token_types
from families.zoo.specimen import Media, Specimen
from transformers import HunYuanVLConfig, HunYuanVLForConditionalGeneration


def config() -> HunYuanVLConfig:
    """Four kinds of positions: in the text, column, row and number of the picture.

    The last one gets no dimensions here: transformers counts pictures through the whole batch, so that a row's
    numbers, and with them its answer, would depend on the rows above it.
    """
    rope = {
        "rope_type": "dynamic",
        "rope_theta": 10000.0,
        "alpha": 1000.0,
        "factor": 1.0,
        "mrope_section": [2, 1, 1, 0],
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "out_hidden_size": 48,
        "text_hidden_size": 48,
        "max_image_size": 24,
        "initializer_range": 0.12,
    }
    return HunYuanVLConfig(
        text_config=text(rope_parameters=rope, head_dim=8, tie_word_embeddings=False),
        vision_config=vision,
        image_token_id=IMAGE,
        im_start_id=START,
        im_end_id=END,
        im_newline_id=9,
        tie_word_embeddings=False,
    )


def media(model: Any, kind: str, variant: int) -> Media:
    """All of the tower's tokens, the added ones too, have the same placeholder."""
    grid = GRIDS[kind][variant]
    rows, columns = grid[1] // MERGE, grid[2] // MERGE
    ids = torch.tensor([START, *[IMAGE] * (rows * (columns + 1) + 2), END])
    return Media(kind, ids, {"pixels": patches(kind, variant, grid, frames=1), "grid": grid})


SPECIMENS = [
    Specimen("hunyuan_vl", build(config, HunYuanVLForConditionalGeneration), media, collate, columns=token_types)
]
