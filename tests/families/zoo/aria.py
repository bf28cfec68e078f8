"""Aria: a tower that sees no padding, learned queries as visual tokens, a mixture of experts."""

from __future__ import annotations

from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import AriaConfig, AriaForConditionalGeneration, AriaTextConfig, Idefics3VisionConfig

IMAGE = 3
SIDE, PATCH, QUERIES = 24, 4, 7
CROPS = ((1, 24, 16), (2, 24, 24), (3, 12, 24))
"""For each variant: crops, and the rows and columns of pixels in each that are no padding."""


def build(backend: str) -> AriaForConditionalGeneration:
    """The same weights for every backend."""
    torch.manual_seed(0)
    vision = Idefics3VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        initializer_range=0.12,
    )
    text = AriaTextConfig(**text_settings(), moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1)
    config = AriaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        projector_patch_to_query_dict={(SIDE // PATCH) ** 2: QUERIES},
        initializer_range=0.12,
        attn_implementation=backend,
    )
    model = AriaForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture of one crop or several, each with its padding at the right or below."""
    crops, high, wide = CROPS[variant]
    pixels = torch.zeros(crops, 3, SIDE, SIDE)
    pixels[:, :, :high, :wide] = torch.randn(crops, 3, high, wide, generator=generator(7, variant))
    mask = torch.zeros(crops, SIDE, SIDE, dtype=torch.bool)
    mask[:, :high, :wide] = True
    return Media(kind, torch.full((crops * QUERIES,), IMAGE), {"pixels": pixels, "mask": mask})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """All crops of all pictures in order."""
    if not media:
        return {}
    pixels, mask = (torch.cat([one.inputs[name] for one in media]) for name in ("pixels", "mask"))
    return {"pixel_values": pixels, "pixel_mask": mask}


SPECIMENS = [Specimen("aria", build, media, collate)]
