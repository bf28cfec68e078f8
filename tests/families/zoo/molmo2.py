"""Molmo 2: pictures whole and in overlapping crops, pooled by attention; visual tokens see one another both ways."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish, generator
from torch import Tensor
from transformers import Molmo2Config, Molmo2ForConditionalGeneration

PATCH_ID, START, LOW_START, END, FRAME_START, FRAME_END, COL = 3, 4, 5, 6, 7, 8, 9
SIDE, PIXELS, MARGIN = 5, 48, 1
TILINGS, FRAMES = ((1, 1), (1, 2), (2, 2)), (2, 3, 4)
"""Crops (rows, columns) and frames for each variant; a crop has SIDE x SIDE patches of PIXELS numbers."""


def build(norm: str, backend: str) -> Molmo2ForConditionalGeneration:
    """Molmo 2 with Qwen3-like layers, or with OLMo's: norms after each block, scaled positions in some layers."""
    torch.manual_seed(0)
    olmo = norm == "olmo"
    base = text_settings()
    settings = {key: base[key] for key in base if not key.endswith("token_id")}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "initializer_range": 0.12}
    scaled = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}
    config = Molmo2Config(
        vision_config={
            **heads,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "image_size": [20, 20],
            "patch_size": 4,
        },
        adapter_config={
            **heads,
            "vision_feature_layer": [2, 0],
            "hidden_size": 32,
            "intermediate_size": 40,
            "text_hidden_size": base["hidden_size"],
        },
        text_config={
            **settings,
            "head_dim": 8,
            "additional_vocab_size": 4,
            "qk_norm_type": norm,
            "norm_after": olmo,
            "rope_parameters": scaled if olmo else {"rope_type": "default", "rope_theta": 10000.0},
            "rope_scaling_layers": [0, 2] if olmo else None,
        },
        image_patch_id=PATCH_ID,
        image_start_token_id=START,
        low_res_image_start_token_id=LOW_START,
        image_end_token_id=END,
        frame_start_token_id=FRAME_START,
        frame_end_token_id=FRAME_END,
        initializer_range=0.12,
        attn_implementation=backend,
    )
    model = Molmo2ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def windows(grid: Tensor, size: int) -> Tensor:
    """Indices (rows, columns, size²) of the patches that make one visual token each; -1 beyond the grid."""
    rows, cols = (-length % size for length in grid.shape)
    grid = torch.nn.functional.pad(grid, (cols // 2, (cols + 1) // 2, rows // 2, (rows + 1) // 2), value=-1)
    return grid.unfold(0, size, size).unfold(1, size, size).flatten(2)


def crops(rows: int, cols: int) -> Tensor:
    """For each patch of the picture, its place in one of the crops, which overlap at their margins."""
    step = SIDE - 2 * MARGIN
    grid = torch.empty(rows * step + 2 * MARGIN, cols * step + 2 * MARGIN, dtype=torch.int64)
    for row in range(grid.shape[0]):
        for col in range(grid.shape[1]):
            tile = [min(max((place - MARGIN) // step, 0), count - 1) for place, count in ((row, rows), (col, cols))]
            inside = (row - tile[0] * step) * SIDE + col - tile[1] * step
            grid[row, col] = (tile[0] * cols + tile[1]) * SIDE**2 + inside
    return grid


def lines(pooled: Tensor) -> list[int]:
    """One placeholder for each visual token, and a column token after each row."""
    return [*[PATCH_ID] * pooled.shape[1], COL] * pooled.shape[0]


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture whole and in crops of 2 x 2 pooled patches; a clip of frames with their times, pooled 3 x 3."""
    whole = torch.arange(SIDE**2).view(SIDE, SIDE)
    random = generator(7, variant, kind == "video")
    if kind == "video":
        pooled, frames = windows(whole, 3), FRAMES[variant]
        each = [FRAME_START, *[PATCH_ID] * pooled[..., 0].numel(), FRAME_END]
        ids = [token for frame in range(frames) for token in (FIRST_WORD + frame, FIRST_WORD + 30, *each)]
        flat = pooled.flatten(0, 1)
        pooling = torch.cat([torch.where(flat < 0, flat, flat + frame * SIDE**2) for frame in range(frames)])
        grid, count = [frames, *pooled.shape[:2]], frames
    else:
        low, high = windows(whole, 2), windows(crops(*TILINGS[variant]), 2)
        ids = [LOW_START, *lines(low), END, START, *lines(high), END]
        high_pooling = torch.where(high < 0, high, high + SIDE**2).flatten(0, 1)
        pooling = torch.cat([low.flatten(0, 1), high_pooling])
        grid, count = [*low.shape[:2], *high.shape[:2]], 1 + TILINGS[variant][0] * TILINGS[variant][1]
    pixels = torch.randn(count, SIDE**2, PIXELS, generator=random)
    return Media(kind, torch.tensor(ids), {"pixels": pixels, "pooling": pooling, "grid": torch.tensor(grid)})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Crops or frames of all media in order; the pooled places count through all of them."""
    if not media:
        return {}
    pooling, start = [], 0
    for one in media:
        places = one.inputs["pooling"]
        pooling.append(torch.where(places < 0, places, places + start))
        start += len(one.inputs["pixels"]) * SIDE**2
    kind = media[0].kind
    inputs = {
        "pixel_values_videos" if kind == "video" else "pixel_values": torch.cat(
            [one.inputs["pixels"] for one in media]
        ),
        f"{kind}_token_pooling": torch.cat(pooling),
        f"{kind}_grids": torch.stack([one.inputs["grid"] for one in media]),
    }
    if kind == "image":
        inputs["image_num_crops"] = torch.tensor([len(one.inputs["pixels"]) for one in media])
    return inputs


def columns(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """Placeholders, column, start and end tokens make one block in which all see all."""
    return {"mm_token_type_ids": ((ids >= PATCH_ID) & (ids <= COL)).long()}


SPECIMENS = [
    Specimen("molmo2", partial(build, norm), media, collate, columns, video=True, variant=norm)
    for norm in ("qwen3", "olmo")
]
