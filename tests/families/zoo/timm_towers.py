"""FastVLM and Perception LM: their towers come from timm; here others stand in whose outputs have the same shape."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import clip_tower, text_settings
from families.zoo.parts import stir
from families.zoo.specimen import Media, Specimen, finish, generator
from torch import Tensor
from transformers import (
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    LlamaConfig,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    Qwen2Config,
    ResNetConfig,
)

IMAGE, VIDEO, SIDE, PATCH, POOL = 3, 4, 24, 6, 2
TILES, FRAMES = 3, 4
"""Tiles of a picture, its thumbnail first, and frames of a clip: stacked by the processor, so one count in a batch."""


def build_fast(backend: str) -> FastVlmForConditionalGeneration:
    """A convolutional tower, (n, channels, rows, columns), and Qwen2."""
    torch.manual_seed(0)
    tower = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        hidden_size=32,
        model_args={"inference_mode": True},
    )
    config = FastVlmConfig(
        vision_config=tower,
        text_config=Qwen2Config(**text_settings()),
        image_token_id=IMAGE,
        attn_implementation={"": backend, "vision_config": "eager", "text_config": backend},
    )
    model = FastVlmForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_perception(backend: str) -> PerceptionLMForConditionalGeneration:
    """A tower with a [CLS] token, tiles pooled 2 x 2 after the projector."""
    torch.manual_seed(0)
    tower = clip_tower(SIDE, PATCH)
    tower.model_args = {"embed_dim": tower.hidden_size}
    config = PerceptionLMConfig(
        vision_config=tower,
        text_config=LlamaConfig(**text_settings()),
        projector_pooling_ratio=POOL,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        attn_implementation=backend,
    )
    model = PerceptionLMForConditionalGeneration(config)
    stir(model)
    return finish(model)


def fast_media(model: Any, kind: str, variant: int) -> Media:
    """One size only."""
    side = 32
    pixels = torch.randn(3, side, side, generator=generator(7, variant))
    return Media(kind, torch.full(((side // 8) ** 2,), IMAGE), {"pixels": pixels})


def fast_collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """Pictures stacked in order."""
    return {"pixel_values": torch.stack([one.inputs["pixels"] for one in media])} if media else {}


def tile_media(model: Any, kind: str, variant: int) -> Media:
    """Tiles or frames, nothing between them."""
    count = FRAMES if kind == "video" else TILES
    pixels = torch.randn(count, 3, SIDE, SIDE, generator=generator(7, variant))
    tokens = count * (SIDE // PATCH // POOL) ** 2
    return Media(kind, torch.full((tokens,), VIDEO if kind == "video" else IMAGE), {"pixels": pixels})


def tile_collate(model: Any, media: list[Media]) -> dict[str, Tensor]:
    """Pictures of as many tiles, and clips of as many frames, stacked in order."""
    names = {"pixel_values": "image", "pixel_values_videos": "video"}
    pixels = {name: [one.inputs["pixels"] for one in media if one.kind == kind] for name, kind in names.items()}
    return {name: torch.stack(stack) for name, stack in pixels.items() if stack}


SPECIMENS = [
    Specimen("fast_vlm", build_fast, fast_media, fast_collate),
    Specimen("perception_lm", build_perception, tile_media, tile_collate, video=True),
]
