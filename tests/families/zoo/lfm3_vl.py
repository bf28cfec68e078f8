"""LFM3-VL: a tower of 2-D convolutions and attention, a decoder of 1-D convolutions, windows and full attention."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.qwen_vl import FRAMES, IDS, PATCH, collate, grid_media, stamped
from families.zoo.specimen import Specimen, finish
from transformers import Lfm3Config, Lfm3VlConfig, Lfm3VlForConditionalGeneration

MIXED = ["conv", "full_attention", "sliding_attention", "full_attention"]


def build(kinds: list[str], backend: str) -> Any:
    """A decoder with these kinds of layers; the same weights for every backend."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention", "full_attention"],
        "initializer_range": 0.12,
    }
    text = Lfm3Config(**text_settings(), head_dim=8, layer_types=kinds, conv_L_cache=5, sliding_window=8)
    config = Lfm3VlConfig(
        vision_config=vision,
        text_config=text,
        projector_hidden_size=40,
        tie_word_embeddings=False,
        attn_implementation=backend,
        **IDS,
    )
    model = Lfm3VlForConditionalGeneration(config)
    stir(model)
    return finish(model)


SPECIMENS = [
    Specimen("lfm3_vl", partial(build, MIXED), grid_media(stamped), collate, video=True, variant="hybrid"),
    Specimen(
        "lfm3_vl", partial(build, ["full_attention"] * 4), grid_media(stamped), collate, video=True, variant="full"
    ),
]
