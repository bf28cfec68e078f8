"""LLaVA-OneVision: a SigLIP tower, crops that are shrunk when they are many, clips pooled to half the odd grid."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.llava_next import collate as collate_next
from families.zoo.parts import features, siglip_tower, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

IMAGE, VIDEO, SIDE, PATCH, FRAMES = 3, 4, 20, 4, 3
SIZES = [(60, 60), (19, 38), (20, 20)]
PINPOINTS = [[rows * SIDE, columns * SIDE] for rows in (1, 2, 3) for columns in (1, 2, 3)]
CROPS = 3
"""Crops count for this many tiles at most; the first picture has more and is interpolated."""


def build(backend: str) -> LlavaOnevisionForConditionalGeneration:
    """A 5 x 5 tower, so that pooling a frame rounds up to 3 x 3."""
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        vision_config=siglip_tower(SIDE, PATCH),
        text_config=Qwen2Config(**text_settings()),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio=f"anyres_max_{CROPS}",
        attn_implementation=backend,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    stir(model)
    torch.nn.init.normal_(model.model.image_newline, generator=generator(3))
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Pictures of several sizes; clips of one length, one newline token at the end of each."""
    if kind == "video":
        frames = torch.randn(FRAMES, 3, SIDE, SIDE, generator=generator(9, variant))
        count = features(model, "video", pixel_values_videos=frames[None]).shape[1]
        return Media(kind, torch.full((count,), VIDEO), {"frames": frames})
    size = SIZES[variant]
    pixels = torch.randn(
        image_size_to_num_patches(size, PINPOINTS, SIDE), 3, SIDE, SIDE, generator=generator(7, variant)
    )
    count = len(features(model, pixel_values=pixels[None], image_sizes=torch.tensor([size]))[0])
    return Media(kind, torch.full((count,), IMAGE), {"pixels": pixels, "size": size})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """As LLaVA-NeXT; the processor also says that each picture is cut into crops."""
    inputs = collate_next(model, media)
    if "pixel_values" in inputs:
        inputs["batch_num_images"] = torch.ones(len(inputs["pixel_values"]), dtype=torch.long)
    return inputs


SPECIMENS = [Specimen("llava_onevision", build, media, collate, video=True)]
