"""Dots 3 Note: compressed keys and values, of other sizes in sliding layers than in full ones; experts in the tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from families.zoo.kimi import latent_text
from families.zoo.qwen_vl import GRIDS, IMAGE, MERGE, PATCH, VIDEO, build, collate, patches, wrapped
from families.zoo.specimen import Media, Specimen
from transformers import Dots3NoteConfig, Dots3NoteForConditionalGeneration

WINDOW = 8
MIXED = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
FULL = ["full_attention"] * 4
PUBLIC = ["indexed_attention", "indexed_attention", "sliding_attention", "indexed_attention"]


def config(layer_types: list[str]) -> Callable[[], Dots3NoteConfig]:
    """Sliding layers have six heads of 6 + 4 dimensions from latents of 12; full ones 4 + 4 from 16."""
    settings = latent_text(
        head_dim=8,
        use_dsa=layer_types == PUBLIC,
        index_topk=6,
        index_head_dim=8,
        index_n_heads=32,  # with few heads, scores of exactly 0 are common, and ties are broken by place
        layer_types=layer_types,
        sliding_window=WINDOW,
        shared_experts_intermediate_size=24,
        swa_num_attention_heads=6,
        swa_num_key_value_heads=6,
        swa_q_lora_rank=20,
        swa_kv_lora_rank=12,
        swa_head_dim=10,
        swa_qk_nope_head_dim=6,
        swa_v_head_dim=6,
    )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 40,
        "moe_intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "pyramid_num_routed": [-1, 4, 4],
        "adapter_in_dim": 32,
        "adapter_out_dim": 48,
        "adapter_merge_size": MERGE,
        "initializer_range": 0.12,
    }
    audio = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "feature_size": 8,
        "downsample_hidden_size": 8,
        "adapter_input_size": 16,
        "adapter_out_dim": 48,
    }
    return lambda: Dots3NoteConfig(
        text_config=settings, vision_config=vision, audio_config=audio, image_token_id=IMAGE, video_token_id=VIDEO
    )


def media(model: Any, kind: str, variant: int) -> Media:
    """Patches of one frame."""
    grid = GRIDS[kind][variant]
    return Media(kind, wrapped(kind, grid), {"pixels": patches(kind, variant, grid, frames=1), "grid": grid})


def specimen(layer_types: list[str], variant: str = "") -> Specimen:
    """A specimen for pictures and clips."""
    made = build(config(layer_types), Dots3NoteForConditionalGeneration)
    return Specimen("dots3_note", made, media, collate, video=True, variant=variant)


SPECIMENS = [specimen(MIXED, variant="swa"), specimen(FULL, variant="full")]

INDEXED = [specimen(PUBLIC)]
"""As in public checkpoints: an index with a cache of its own picks the tokens that full layers attend to."""
