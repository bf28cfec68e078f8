"""Aya Vision and Command A Vision: tiles with separators, 2 x 2 patches shuffled together, sliding and full layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import siglip_tower, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    Cohere2Config,
    Cohere2VisionConfig,
    Cohere2VisionForConditionalGeneration,
)

IMAGE, START, END, GLOBAL, TILE, BREAK = 3, 4, 5, 6, 7, 15
SIDE, PATCH, DOWN = 24, 4, 2
TILES = [3, 1, 5]
"""Tiles of each picture, its thumbnail included: a picture of one tile has no crops."""


def decoder(full: bool = False) -> Cohere2Config:
    """Sliding layers with rotary positions, full layers without any."""
    types = ["full_attention"] * 4 if full else ["sliding_attention", "sliding_attention", "full_attention"] * 2
    return Cohere2Config(**text_settings(), layer_types=types[:4], sliding_window=8, logit_scale=0.25)


def build_aya(backend: str, full: bool = False) -> AyaVisionForConditionalGeneration:
    """Aya Vision."""
    torch.manual_seed(0)
    config = AyaVisionConfig(
        vision_config=siglip_tower(SIDE, PATCH),
        text_config=decoder(full),
        image_token_id=IMAGE,
        downsample_factor=DOWN,
        alignment_intermediate_size=64,
        attn_implementation=backend,
    )
    model = AyaVisionForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_command(backend: str) -> Cohere2VisionForConditionalGeneration:
    """Command A Vision."""
    torch.manual_seed(0)
    config = Cohere2VisionConfig(
        vision_config=siglip_tower(SIDE, PATCH),
        text_config=decoder(),
        image_token_id=IMAGE,
        downsample_factor=DOWN,
        alignment_intermediate_size=64,
        attn_implementation=backend,
    )
    model = Cohere2VisionForConditionalGeneration(config)
    stir(model)
    return finish(model)


def tile_ids() -> list[int]:
    """Placeholders of one tile."""
    return [IMAGE] * (SIDE // PATCH // DOWN) ** 2


def aya_layout(tiles: int) -> list[int]:
    """Crops, each after its own tile token, and the thumbnail at the end."""
    crops = [token for index in range(tiles - 1) for token in [TILE + index, *tile_ids()]]
    return [START, *crops, GLOBAL, *tile_ids(), END]


def command_layout(tiles: int) -> list[int]:
    """A break after each tile; the thumbnail comes last."""
    return [START, *[*tile_ids(), BREAK] * tiles, END]


def media(model: Any, kind: str, variant: int, layout: Any) -> Media:
    """A picture as its tiles."""
    pixels = torch.randn(TILES[variant], 3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.tensor(layout(TILES[variant])), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """The tiles of all pictures in one row; nothing says which picture a tile is from."""
    return {"pixel_values": torch.cat([one.inputs["pixels"] for one in media])} if media else {}


SPECIMENS = [
    Specimen("aya_vision", build_aya, partial(media, layout=aya_layout), collate),
    Specimen("aya_vision", partial(build_aya, full=True), partial(media, layout=aya_layout), collate, variant="full"),
    Specimen("cohere2_vision", build_command, partial(media, layout=command_layout), collate),
]
