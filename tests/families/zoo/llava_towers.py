"""LLaVA with other towers, VipLLaVA and Video-LLaVA: one visual token for each patch."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from families.zoo.llava import clip_tower, text_settings
from families.zoo.parts import features, pixtral_tower, siglip_tower, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

IMAGE, VIDEO, BREAK, END, SIDE, PATCH, FRAMES = 3, 4, 5, 6, 24, 6, 3
SIZES = [(24, 24), (12, 30), (18, 12)]
"""Sizes of pictures for the Pixtral tower, which takes any."""


def build_siglip(backend: str) -> LlavaForConditionalGeneration:
    """As llava-interleave: a SigLIP tower and Qwen2."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=siglip_tower(SIDE, PATCH),
        text_config=Qwen2Config(**text_settings()),
        vision_feature_select_strategy="full",
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = LlavaForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_pixtral(backend: str) -> LlavaForConditionalGeneration:
    """As pixtral-12b: pictures of any size in one packed sequence, rotary positions, heads wider than d / h."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=pixtral_tower(48, PATCH),
        text_config=MistralConfig(**text_settings(), head_dim=16, sliding_window=None),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = LlavaForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_vip(backend: str) -> VipLlavaForConditionalGeneration:
    """Several layers of the tower side by side."""
    torch.manual_seed(0)
    config = VipLlavaConfig(
        vision_config=clip_tower(),
        text_config=LlamaConfig(**text_settings()),
        vision_feature_layers=[-2, -1, 1],
        image_token_id=IMAGE,
        attn_implementation=backend,
    )
    model = VipLlavaForConditionalGeneration(config)
    stir(model)
    return finish(model)


def build_video(backend: str) -> VideoLlavaForConditionalGeneration:
    """Two towers, one for pictures and one for frames."""
    torch.manual_seed(0)
    config = VideoLlavaConfig(
        vision_config=clip_tower(),
        text_config=LlamaConfig(**text_settings()),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        attn_implementation=backend,
    )
    model = VideoLlavaForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """One size only; the [CLS] tokens of frames stay in the prompt."""
    if kind == "video":
        frames = torch.randn(FRAMES, 3, SIDE, SIDE, generator=generator(9, variant))
        count = features(model, "video", pixel_values_videos=frames[None]).shape[:2].numel()
        return Media(kind, torch.full((count,), VIDEO), {"pixels": frames})
    pixels = torch.randn(3, SIDE, SIDE, generator=generator(7, variant))
    return Media(kind, torch.full(((SIDE // PATCH) ** 2,), IMAGE), {"pixels": pixels})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures stacked, clips stacked."""
    pictures = [one.inputs["pixels"] for one in media if one.kind == "image"]
    clips = [one.inputs["pixels"] for one in media if one.kind == "video"]
    older = "pixel_values_images" in inspect.signature(model.base_model.get_image_features).parameters
    inputs = {"pixel_values_images" if older else "pixel_values": pictures, "pixel_values_videos": clips}
    return {name: torch.stack(pixels) for name, pixels in inputs.items() if pixels}


def rows(height: int, width: int) -> torch.Tensor:
    """Placeholders of `height` rows, a break token after each row but the last, which has the end token."""
    ids = torch.full((height, width + 1), IMAGE)
    ids[:, -1] = BREAK
    ids[-1, -1] = END
    return ids.flatten()


def pixtral_media(model: Any, kind: str, variant: int, cell: int = PATCH) -> Media:
    """Pictures of several sizes, each a multiple of `cell` pixels for one visual token."""
    height, width = SIZES[variant]
    pixels = torch.randn(3, height, width, generator=generator(7, variant))
    return Media(kind, rows(height // cell, width // cell), {"pixels": pixels, "size": (height, width)})


def pixtral_collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Pictures padded at the bottom and right to the largest, and their sizes."""
    if not media:
        return {}
    sizes = [one.inputs["size"] for one in media]
    pixels = torch.zeros(len(media), 3, max(h for h, _ in sizes), max(w for _, w in sizes))
    for index, one in enumerate(media):
        height, width = sizes[index]
        pixels[index, :, :height, :width] = one.inputs["pixels"]
    return {"pixel_values": pixels, "image_sizes": torch.tensor(sizes)}


SPECIMENS = [
    Specimen("llava", build_siglip, media, collate, variant="siglip"),
    Specimen("llava", build_pixtral, pixtral_media, pixtral_collate, variant="pixtral"),
    Specimen("vipllava", build_vip, media, collate),
    Specimen("video_llava", build_video, media, collate, video=True),
]
