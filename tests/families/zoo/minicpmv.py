"""MiniCPM-V and MiniCPM-OCR: the picture first, then its slices, merged 2 x 2 inside the tower or not, and after it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.parts import remember, stir
from families.zoo.qwen3_5 import FULL, MIXED, hybrid_text
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import Tensor, nn
from transformers import (
    MiniCPMOcrConfig,
    MiniCPMOcrForConditionalGeneration,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_7Config,
    MiniCPMV4_7ForConditionalGeneration,
)

IMAGE, VIDEO, START, END, SLICE_START, SLICE_END, LINE = 3, 4, 5, 6, 7, 8, 9
PATCH, FRAME = 2, (8, 8)
PICTURES = (((12, 12), 0, 0, ()), ((8, 8), 1, 2, (12, 4)), ((8, 12), 2, 2, (4, 8)))
"""For each variant: patches (rows, columns) of the whole, rows and columns of slices, patches of a slice."""
FRAMES = (2, 3, 4)


def settings(layer_types: list[str]) -> dict[str, Any]:
    """What the three configurations share: a small tower, a Qwen3.5 decoder with these kinds of layers."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": PATCH,
        "initializer_range": 0.12,
    }
    return {
        "vision_config": vision,
        "text_config": {"model_type": "qwen3_5_text", **hybrid_text(layer_types)},
        "insert_layer_id": 1,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "tie_word_embeddings": False,
    }


def ready(model: Any) -> Any:
    """Random values everywhere, none of them too large."""
    stir(model)
    calm(model.model.vision_tower.vit_merger)
    remember(model)
    return finish(model)


def build(layer_types: list[str], backend: str) -> MiniCPMV4_6ForConditionalGeneration:
    """MiniCPM-V 4.6, plain positions; the same weights for every backend."""
    torch.manual_seed(0)
    config = MiniCPMV4_6Config(**settings(layer_types), attn_implementation=backend)
    return ready(MiniCPMV4_6ForConditionalGeneration(config))


def build_4_7(layer_types: list[str], backend: str) -> MiniCPMV4_7ForConditionalGeneration:
    """MiniCPM-V 4.7: slices and their markers have positions on the canvas of the whole picture."""
    torch.manual_seed(0)
    markers = {
        "image_start_id": START,
        "image_end_id": END,
        "slice_start_id": SLICE_START,
        "slice_end_id": SLICE_END,
        "newline_id": LINE,
    }
    config = MiniCPMV4_7Config(**settings(layer_types), **markers, attn_implementation=backend)
    return ready(MiniCPMV4_7ForConditionalGeneration(config))


def build_ocr(layer_types: list[str], backend: str) -> MiniCPMOcrForConditionalGeneration:
    """MiniCPM-OCR: as 4.6, but nothing is merged inside the tower, so a picture has four times as many tokens."""
    torch.manual_seed(0)
    config = MiniCPMOcrConfig(**settings(layer_types), attn_implementation=backend)
    return ready(MiniCPMOcrForConditionalGeneration(config))


@torch.no_grad()
def calm(merger: nn.Module) -> None:
    """Smaller matrices than transformers starts this part with (deviation 1), which would magnify rounding."""
    for index, weight in enumerate(merger.parameters()):
        if weight.dim() > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator(23, index)) * 0.12)


def placeholder(token: int, shape: tuple[int, ...], start: int, end: int, merged: int) -> list[int]:
    """One placeholder for each block of `merged` patches, between start and end."""
    return [start, *[token] * (shape[0] * shape[1] // merged), end]


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture and its slices, row by row; a clip of frames of one size."""
    merged = {"16x": 16, "4x": 4}[model.config.downsample_mode]
    if kind == "video":
        shapes = [FRAME] * FRAMES[variant]
        ids = [token for shape in shapes for token in placeholder(VIDEO, shape, START, END, merged)]
    else:
        whole, rows, cols, slice_shape = PICTURES[variant]
        shapes = [whole, *[slice_shape] * (rows * cols)]
        ids = placeholder(IMAGE, whole, START, END, merged)
        for row in range(rows):
            ids += [LINE] * (row > 0) + placeholder(IMAGE, slice_shape, SLICE_START, SLICE_END, merged) * cols
    patches = sum(rows * cols for rows, cols in shapes)
    pixels = torch.randn(1, 3, PATCH, patches * PATCH, generator=generator(7, variant, kind == "video"))
    return Media(kind, torch.tensor(ids), {"pixels": pixels, "shapes": torch.tensor(shapes, dtype=torch.int32)})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches of all pictures, slices and frames in one row."""
    if not media:
        return {}
    end = "_videos" if media[0].kind == "video" else ""
    return {
        f"pixel_values{end}": torch.cat([one.inputs["pixels"] for one in media], dim=-1),
        f"target_sizes{end}": torch.cat([one.inputs["shapes"] for one in media]),
    }


def token_types(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """1 where a picture's placeholder is, 2 where a clip's is, (b, q)."""
    return {"mm_token_type_ids": ((ids == IMAGE) + 2 * (ids == VIDEO)).int()}


SPECIMENS = []
for variant, layer_types in (("hybrid", MIXED), ("full", FULL)):
    for model_type, make in (("minicpmv4_6", build), ("minicpm_ocr", build_ocr)):
        SPECIMENS.append(Specimen(model_type, partial(make, layer_types), media, collate, video=True, variant=variant))
    made = partial(build_4_7, layer_types)
    SPECIMENS.append(Specimen("minicpmv4_7", made, media, collate, token_types, video=True, variant=variant))
