"""LightOnOCR (Pixtral and Qwen3), GOT-OCR 2 and PP-Chart2Table (a SAM tower with windows, and convolutions)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.llava_towers import pixtral_collate
from families.zoo.parts import features, pixtral_tower, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    GotOcr2Config,
    GotOcr2ForConditionalGeneration,
    LightOnOcrConfig,
    LightOnOcrForConditionalGeneration,
    PPChart2TableConfig,
    Qwen2Config,
    Qwen3Config,
)

IMAGE, START, END, PATCH, MERGE = 3, 4, 5, 3, 2
SIZES = [(24, 24), (12, 30), (18, 12)]
PAGE, TILES = 64, [1, 3, 2]
"""Side of a page or tile for the SAM tower, and tiles of each picture (thumbnail last)."""


def build_lighton(backend: str) -> LightOnOcrForConditionalGeneration:
    """2 x 2 patches merged, no row breaks."""
    torch.manual_seed(0)
    config = LightOnOcrConfig(
        vision_config=pixtral_tower(48, PATCH),
        text_config=Qwen3Config(**text_settings(), head_dim=16),
        spatial_merge_size=MERGE,
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = LightOnOcrForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_got(backend: str, kind: type[Any] = GotOcr2Config) -> GotOcr2ForConditionalGeneration:
    """Windows of 5 patches that do not divide the 16 of a side, one global layer, relative positions."""
    torch.manual_seed(0)
    tower = {
        "hidden_size": 32,
        "output_channels": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": PAGE,
        "patch_size": 4,
        "window_size": 5,
        "global_attn_indexes": [1],
        "mlp_dim": 48,
        "initializer_range": 0.12,
    }
    config = kind(
        vision_config=tower,
        text_config=Qwen2Config(**text_settings()),
        image_token_id=IMAGE,
        attn_implementation={"": "eager", "vision_config": "eager", "text_config": backend},
    )
    model = GotOcr2ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def page_media(model: Any, kind: str, variant: int) -> Media:
    """Pictures of several sizes, one placeholder for each merged patch."""
    height, width = SIZES[variant]
    pixels = torch.randn(3, height, width, generator=generator(7, variant))
    count = (height // PATCH // MERGE) * (width // PATCH // MERGE)
    return Media(kind, torch.full((count,), IMAGE), {"pixels": pixels, "size": (height, width)})


def tile_media(model: Any, kind: str, variant: int) -> Media:
    """Tiles between start and end, nothing between them; PP-Chart2Table has one page."""
    tiles = TILES[variant] if model.config.model_type == "got_ocr2" else 1
    pixels = torch.randn(tiles, 3, PAGE, PAGE, generator=generator(7, variant))
    count = features(model, pixel_values=pixels).shape[:2].numel()
    return Media(kind, torch.tensor([START, *[IMAGE] * count, END]), {"pixels": pixels})


def tile_collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """The tiles of all pictures in one row."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [
    Specimen("lighton_ocr", build_lighton, page_media, pixtral_collate),
    Specimen("got_ocr2", build_got, tile_media, tile_collate),
    Specimen("pp_chart2table", partial(build_got, kind=PPChart2TableConfig), tile_media, tile_collate),
]
