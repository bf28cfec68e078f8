"""Muse Glimmer and Muse Spark: a tower with windows, windowed decoder layers with positions, full ones without."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from families.zoo.llava import text_settings
from families.zoo.parts import stir
from families.zoo.qwen_vl import FRAMES, GRIDS, MERGE, PATCH, collate, patches
from families.zoo.specimen import FIRST_WORD, Media, Specimen, finish
from transformers import (
    MuseGlimmerConfig,
    MuseGlimmerForConditionalGeneration,
    MuseSparkConfig,
    MuseSparkForConditionalGeneration,
)

IMAGE, VIDEO, START, END, CLIP_START, CLIP_END, SEPARATOR, AUDIO = 3, 4, 5, 6, 7, 8, 9, 10
MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def settings(kinds: list[str]) -> dict[str, Any]:
    """What both share: the tower, and a decoder with these kinds of layers, the second and fourth without positions."""
    vision = {
        "patch_size": PATCH,
        "pos_emb_height": 4,
        "pos_emb_width": 4,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "patch_temporal": FRAMES,
        "merge_size": MERGE,
        "layer_types": ["window_attention", "window_attention", "full_attention"],
    }
    text = {
        **text_settings(),
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": kinds,
        "layer_rope_theta": [10000.0, 0, 10000.0, 0],
        "output_multiplier": 0.5,
        "qk_scale_factor": 2.0,
    }
    return {
        "vision_config": vision,
        "text_config": text,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "out_hidden_size": 32 * MERGE**2,
        "projector_hidden_size": 40,
    }


def build(kinds: list[str], backend: str) -> MuseGlimmerForConditionalGeneration:
    """Muse Glimmer; the same weights for every backend."""
    torch.manual_seed(0)
    model = MuseGlimmerForConditionalGeneration(MuseGlimmerConfig(**settings(kinds), attn_implementation=backend))
    stir(model)
    return finish(model)


def build_spark(kinds: list[str], backend: str) -> MuseSparkForConditionalGeneration:
    """Muse Spark: three layers of four have experts, and gates mix each block with its input; ears are tiny."""
    torch.manual_seed(0)
    parts = settings(kinds)
    parts["text_config"] |= {
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "moe_hidden_size": 24,
        "moe_intermediate_size": 24,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    audio = {
        "patch_sizes": [4, 4],
        "hidden_sizes": [8, 8],
        "depths": [1, 1],
        "num_hidden_layers": 2,
        "out_hidden_size": parts["text_config"]["hidden_size"],
    }
    config = MuseSparkConfig(**parts, audio_config=audio, audio_token_id=AUDIO, attn_implementation=backend)
    model = MuseSparkForConditionalGeneration(config)
    stir(model)
    return finish(model)


def media(model: Any, kind: str, variant: int) -> Media:
    """A picture between start and end; a clip with the time before each step and a separator between steps."""
    time, height, width = grid = GRIDS[kind][variant]
    count = height * width // MERGE**2
    if kind == "image":
        ids = [START, *[IMAGE] * count, END]
    else:
        ids = [CLIP_START]
        for step in range(time):
            ids += [FIRST_WORD + step, *[VIDEO] * count, SEPARATOR if step < time - 1 else CLIP_END]
    return Media(kind, torch.tensor(ids), {"pixels": patches(kind, variant, grid), "grid": grid})


FULL = ["full_attention"] * 4
SPECIMENS = [
    Specimen("muse_glimmer", partial(build, MIXED), media, collate, video=True, variant="sliding"),
    Specimen("muse_glimmer", partial(build, FULL), media, collate, video=True, variant="full"),
    Specimen("muse_spark", partial(build_spark, MIXED), media, collate, video=True, variant="sliding"),
    Specimen("muse_spark", partial(build_spark, FULL), media, collate, video=True, variant="full"),
]
