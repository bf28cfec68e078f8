"""VideoLLaMA3: pictures unmerged, clips pooled 2 × 2 and thinned out by the processor where frames repeat."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.qwen_vl import GRIDS, IMAGE, PATCH, VIDEO, build, collate, patches
from families.zoo.specimen import FIRST_WORD, Media, Specimen, generator
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

CLIP_MERGE = 2
STILLS = [(1, 3, 4), (1, 3, 5), (1, 5, 2)]
"""Patches in time, height and width of pictures."""


def config() -> VideoLlama3Config:
    """A tower like SigLIP's with rotary positions only; positions in the decoder are one-dimensional."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": PATCH,
        "initializer_range": 0.12,
    }
    return VideoLlama3Config(
        text_config={"model_type": "qwen2", **text_settings()},
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )


def media(model: Any, kind: str, variant: int) -> Media:
    """A clip's frames follow their times; of each frame but the first, some tokens are left out."""
    if kind == "image":
        grid = STILLS[variant]
        ids = torch.full((grid[1] * grid[2],), IMAGE)
        return Media(kind, ids, {"pixels": patches(kind, variant, grid, frames=1), "grid": grid, "merge": 1})
    grid = GRIDS[kind][variant]
    each = grid[1] * grid[2] // CLIP_MERGE**2
    kept = torch.rand(grid[0], each, generator=generator(17, variant)) < 0.7
    kept[0] = True
    rows: list[int] = []
    for frame, count in enumerate(kept.sum(1).tolist()):
        rows += [FIRST_WORD + 50, FIRST_WORD + 60 + frame, *[VIDEO] * count]
    pixels = patches(kind, variant, grid, frames=1)
    inputs = {"pixels": pixels, "grid": grid, "merge": CLIP_MERGE, "kept": kept.flatten()}
    return Media(kind, torch.tensor(rows), inputs)


def collate_merged(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches and grids, how far each is merged, and which of the clips' tokens stand in the prompt."""
    inputs = collate(model, media)
    clips = [one for one in media if one.kind == "video"]
    if len(clips) < len(media):
        inputs["image_merge_sizes"] = torch.tensor([one.inputs["merge"] for one in media if one.kind == "image"])
    if clips:
        inputs["video_merge_sizes"] = torch.tensor([one.inputs["merge"] for one in clips])
        inputs["video_compression_mask"] = torch.cat([one.inputs["kept"] for one in clips])
    return inputs


SPECIMENS = [
    Specimen("video_llama_3", build(config, VideoLlama3ForConditionalGeneration), media, collate_merged, video=True)
]
