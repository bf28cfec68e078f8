"""LLaVA-NeXT and LLaVA-NeXT-Video: a thumbnail and crops with newline tokens; clips of frames pooled 2×2."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import clip_tower, text_settings
from families.zoo.parts import features, pad_to, stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import (
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
)
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

IMAGE, VIDEO, SIDE, FRAMES = 3, 4, 24, 3
SIZES = [(48, 48), (24, 48), (30, 44)]
PINPOINTS = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
DECODERS: dict[str, Any] = {
    "llama": LlamaConfig,
    "mistral": partial(MistralConfig, sliding_window=None),
    "qwen2": Qwen2Config,
}


def build(backend: str, decoder: str = "llama", video: bool = False) -> Any:
    """LLaVA-NeXT with one of its decoders."""
    torch.manual_seed(0)
    shared: dict[str, Any] = {
        "vision_config": clip_tower(),
        "text_config": DECODERS[decoder](**text_settings()),
        "image_token_id": IMAGE,
        "image_grid_pinpoints": PINPOINTS,
        "attn_implementation": backend,
    }
    if video:
        model: Any = LlavaNextVideoForConditionalGeneration(LlavaNextVideoConfig(**shared, video_token_id=VIDEO))
    else:
        model = LlavaNextForConditionalGeneration(LlavaNextConfig(**shared))
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Pictures of several sizes; clips have one length, because the video processor stacks them."""
    if kind == "video":
        frames = torch.randn(FRAMES, 3, SIDE, SIDE, generator=generator(9, variant))
        count = features(model, "video", pixel_values_videos=frames[None])[0].shape[:-1].numel()
        return Media(kind, torch.full((count,), VIDEO), {"frames": frames})
    size = SIZES[variant]
    tiles = image_size_to_num_patches(size, PINPOINTS, SIDE)
    pixels = torch.randn(tiles, 3, SIDE, SIDE, generator=generator(7, variant))
    count = len(features(model, pixel_values=pixels[None], image_sizes=torch.tensor([size]))[0])
    return Media(kind, torch.full((count,), IMAGE), {"pixels": pixels, "size": size})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Tiles padded with zero tiles, and the sizes of the pictures; clips stacked."""
    inputs: dict[str, Any] = {}
    pictures = [one.inputs for one in media if one.kind == "image"]
    clips = [one.inputs["frames"] for one in media if one.kind == "video"]
    if pictures:
        inputs["pixel_values"] = pad_to([one["pixels"] for one in pictures])
        inputs["image_sizes"] = torch.tensor([one["size"] for one in pictures])
    if clips:
        inputs["pixel_values_videos"] = torch.stack(clips)
    return inputs


SPECIMENS = [
    *(Specimen("llava_next", partial(build, decoder=name), media, collate, variant=name) for name in DECODERS),
    Specimen("llava_next_video", partial(build, video=True), media, collate, video=True),
]
