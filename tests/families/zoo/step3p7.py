"""Step 3.7: crops before the whole picture, convolutions after the tower, gated sliding and full layers, experts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import Step3p7Config, Step3p7ForConditionalGeneration

IMAGE, START, END, CROP, CROP_END, LINE = 3, 4, 5, 6, 7, 8
SIDE, CROP_SIDE, PATCH = 48, 32, 4
CROPS = [2, 0, 4]
"""Crops of each picture, two in a row."""


def build(backend: str, full: bool = False) -> Step3p7ForConditionalGeneration:
    """Sliding layers have more heads, another rotary base and rotate all of a head."""
    torch.manual_seed(0)
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        "full_attention": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
    }
    text: dict[str, Any] = text_settings() | {
        "head_dim": 8,
        "layer_types": ["full_attention"] * 4 if full else ["full_attention"] + ["sliding_attention"] * 3,
        "sliding_window": 8,
        "num_sliding_attention_heads": 8,
        "mlp_layer_types": ["dense", "sparse", "dense", "sparse"],
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "share_expert_dim": 24,
        "rope_parameters": {"full_attention": rope["full_attention"]} if full else rope,
    }
    vision = {
        "hidden_size": 32,
        "mlp_ratio": 1.5,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "layer_scale_init_value": 0.5,
        "initializer_range": 0.12,
    }
    config = Step3p7Config(text_config=text, vision_config=vision, image_token_id=IMAGE, attn_implementation=backend)
    model = Step3p7ForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Each crop between its tokens, a line token after a row, and the whole picture."""
    ids: list[int] = []
    for crop in range(CROPS[variant]):
        ids += [CROP, *[IMAGE] * (CROP_SIDE // PATCH // 4) ** 2, CROP_END]
        ids += [LINE] if crop % 2 and crop < CROPS[variant] - 1 else []
    ids += [START, *[IMAGE] * (SIDE // PATCH // 4) ** 2, END]
    random = generator(7, variant)
    whole = torch.randn(3, SIDE, SIDE, generator=random)
    crops = torch.randn(CROPS[variant], 3, CROP_SIDE, CROP_SIDE, generator=random)
    return Media(kind, torch.tensor(ids), {"whole": whole, "crops": crops})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Whole pictures, the crops of all pictures in one row, and how many each has."""
    if not media:
        return {}
    crops = torch.cat([one.inputs["crops"] for one in media])
    return {
        "pixel_values": torch.stack([one.inputs["whole"] for one in media]),
        "pixel_values_local": crops if len(crops) else None,
        "num_local_patches": torch.tensor([len(one.inputs["crops"]) for one in media]),
    }


SPECIMENS = [
    Specimen("step3p7", build, media, collate),
    Specimen("step3p7", partial(build, full=True), media, collate, variant="full"),
]
