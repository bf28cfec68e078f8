"""Nemotron-H Omni: pictures of any shape, a tower with registers, a decoder of Mamba 2, attention and expert layers.

Clips are left out: transformers 5.23 itself cannot read them here (it concatenates a tensor as if it were a list).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.specimen import Media, Specimen, finish, generator
from transformers import (
    NemotronH_Omni_Reasoning_V3,
    NemotronH_Omni_Reasoning_V3_Config,
    NemotronHConfig,
    RadioConfig,
)

IMAGE, VIDEO, START, END, AUDIO = 3, 4, 5, 6, 7
PATCH = 4
GRIDS = ((4, 6), (6, 6), (8, 4))
HYBRID = ["linear_attention", "full_attention", "moe", "full_attention"]


def build(kinds: list[str], backend: str) -> NemotronH_Omni_Reasoning_V3:
    """A decoder with these kinds of layers; the same weights for every backend."""
    torch.manual_seed(0)
    vision = RadioConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        mlp_ratio=1.5,
        patch_size=PATCH,
        image_size=24,
        max_img_size=48,
        num_cls_tokens=3,
        num_registers=2,
        video_temporal_patch_size=2,
        initializer_range=0.12,
    )
    text = NemotronHConfig(
        **{name: value for name, value in text_settings().items() if name != "num_hidden_layers"},
        layers_block_type=kinds,
        head_dim=8,
        ssm_state_size=8,
        mamba_num_heads=6,
        mamba_head_dim=16,
        n_groups=2,
        chunk_size=8,
        n_routed_experts=4,
        moe_intermediate_size=24,
        moe_shared_expert_intermediate_size=24,
    )
    config = NemotronH_Omni_Reasoning_V3_Config(
        vision_config=vision,
        text_config=text,
        projector_hidden_size=40,
        vision_hidden_size=32,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=AUDIO,
        attn_implementation=backend,
    )
    model = NemotronH_Omni_Reasoning_V3(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """Patches of a picture of any shape, between a start and an end token."""
    rows, cols = GRIDS[variant]
    pixels = torch.randn(rows * cols, 3 * PATCH**2, generator=generator(7, variant))
    ids = torch.tensor([START, *[IMAGE] * (rows * cols // 4), END])
    return Media(kind, ids, {"pixels": pixels, "grid": torch.tensor([rows, cols])})


def collate(model: Any, media: list[Media]) -> dict[str, Any]:
    """Patches of all pictures in one row."""
    if not media:
        return {}
    pixels, grids = ([one.inputs[name] for one in media] for name in ("pixels", "grid"))
    return {"pixel_values": torch.cat(pixels), "image_grid_hw": torch.stack(grids)}


SPECIMENS = [
    Specimen("nemotron_h_omni", partial(build, HYBRID), media, collate, variant="hybrid"),
    Specimen("nemotron_h_omni", partial(build, ["full_attention"] * 4), media, collate, variant="full"),
]
