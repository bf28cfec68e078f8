"""MiniCPM-V 4.6: the picture first and then its slices, merged 2 x 2 inside the tower and again after it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.parts import stir
from families.zoo.qwen3_5 import FULL, MIXED, hybrid_text
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import nn
from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration

IMAGE, VIDEO, START, END, SLICE_START, SLICE_END, LINE = 3, 4, 5, 6, 7, 8, 9
PATCH, FRAME = 2, (8, 8)
PICTURES = (((12, 12), 0, 0, ()), ((8, 8), 1, 2, (12, 4)), ((8, 12), 2, 2, (4, 8)))
"""For each variant: patches (rows, columns) of the whole, rows and columns of slices, patches of a slice."""
FRAMES = (2, 3, 4)


def build(layer_types: list[str], backend: str) -> MiniCPMV4_6ForConditionalGeneration:
    """A Qwen3.5 decoder with these kinds of layers; the same weights for every backend."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": PATCH,
        "initializer_range": 0.12,
    }
    config = MiniCPMV4_6Config(
        vision_config=vision,
        text_config={"model_type": "qwen3_5_text", **hybrid_text(layer_types)},
        insert_layer_id=1,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        attn_implementation=backend,
    )
    model = MiniCPMV4_6ForConditionalGeneration(config)
    stir(model)
    calm(model.model.vision_tower.vit_merger)
    remember(model.model.language_model)
    return finish(model)


@torch.no_grad()
def calm(merger: nn.Module) -> None:
    """Smaller matrices than transformers starts this part with (deviation 1), which would magnify rounding."""
    for index, weight in enumerate(merger.parameters()):
        if weight.dim() > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator(23, index)) * 0.12)


@torch.no_grad()
def remember(decoder: nn.Module) -> None:
    """Let linear attention remember for dozens of tokens, and speak loudly enough for the norm that follows it.

    As transformers starts them, states fade within one token, and outputs near zero are divided by their own size.
    """
    for index, module in enumerate(decoder.modules()):
        if hasattr(module, "A_log"):
            module.A_log.copy_(torch.rand(module.A_log.shape, generator=generator(29, index)) - 4)
            module.conv1d.weight.mul_(4)


def placeholder(token: int, shape: tuple[int, ...], start: int, end: int) -> list[int]:
    """One placeholder for each 4 x 4 patches, between start and end."""
    return [start, *[token] * (shape[0] * shape[1] // 16), end]


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture and its slices, row by row; a clip of frames of one size."""
    if kind == "video":
        shapes = [FRAME] * FRAMES[variant]
        ids = [token for shape in shapes for token in placeholder(VIDEO, shape, START, END)]
    else:
        whole, rows, cols, slice_shape = PICTURES[variant]
        shapes = [whole, *[slice_shape] * (rows * cols)]
        ids = placeholder(IMAGE, whole, START, END)
        for row in range(rows):
            ids += [LINE] * (row > 0) + placeholder(IMAGE, slice_shape, SLICE_START, SLICE_END) * cols
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


SPECIMENS = [
    Specimen("minicpmv4_6", partial(build, MIXED), media, collate, video=True, variant="hybrid"),
    Specimen("minicpmv4_6", partial(build, FULL), media, collate, video=True, variant="full"),
]
